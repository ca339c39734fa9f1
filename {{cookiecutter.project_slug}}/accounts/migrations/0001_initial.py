from tortoise import migrations
from tortoise.migrations import operations as ops
from accounts.models import random_id
from tortoise.fields.base import OnDelete
from tortoise import fields

class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name='Buyer',
            fields=[
                ('id', fields.CharField(primary_key=True, default=random_id, unique=True, db_index=True, max_length=16)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('guest_until', fields.DatetimeField(null=True, db_index=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'accounts_buyer', 'app': 'accounts', 'pk_attr': 'id', 'table_description': '买家'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Identity',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('buyer', fields.ForeignKeyField('accounts.Buyer', source_field='buyer_id', db_index=True, db_constraint=True, to_field='id', related_name='identities', on_delete=OnDelete.RESTRICT)),
                ('kind', fields.CharField(max_length=20)),
                ('appid', fields.CharField(max_length=32)),
                ('openid', fields.CharField(max_length=128)),
                ('unionid', fields.CharField(null=True, db_index=True, max_length=128)),
            ],
            options={'table': 'accounts_identity', 'app': 'accounts', 'unique_together': (('appid', 'openid'),), 'pk_attr': 'id', 'table_description': '身份'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='OAuthState',
            fields=[
                ('state', fields.CharField(primary_key=True, unique=True, db_index=True, max_length=64)),
                ('browser', fields.CharField(max_length=64)),
                ('return_to', fields.CharField(max_length=512)),
                ('expires_at', fields.DatetimeField(db_index=True, auto_now=False, auto_now_add=False)),
                ('code_hash', fields.CharField(null=True, max_length=64)),
                ('buyer_id', fields.CharField(null=True, max_length=16)),
            ],
            options={'table': 'accounts_oauth_state', 'app': 'accounts', 'pk_attr': 'state', 'table_description': '网页授权'},
            bases=['Model'],
        ),
    ]
