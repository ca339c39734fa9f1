from tortoise import migrations
from tortoise.migrations import operations as ops
import functools
from json import dumps, loads
from shop.models import UtcField, random_id
from tortoise.fields.base import OnDelete
from tortoise import fields

class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name='Buyer',
            fields=[
                ('id', fields.CharField(primary_key=True, default=random_id, unique=True, db_index=True, max_length=16)),
                ('created_at', UtcField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'buyer', 'app': 'shop', 'pk_attr': 'id', 'table_description': '买家'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Identity',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('buyer', fields.ForeignKeyField('shop.Buyer', source_field='buyer_id', db_constraint=True, to_field='id', related_name='identities', on_delete=OnDelete.RESTRICT)),
                ('kind', fields.CharField(max_length=20)),
                ('appid', fields.CharField(max_length=32)),
                ('openid', fields.CharField(max_length=128)),
                ('unionid', fields.CharField(null=True, db_index=True, max_length=128)),
            ],
            options={'table': 'identity', 'app': 'shop', 'unique_together': (('appid', 'openid'),), 'pk_attr': 'id', 'table_description': '身份'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Notification',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('channel', fields.CharField(max_length=32)),
                ('kind', fields.CharField(max_length=32)),
                ('key', fields.CharField(max_length=128)),
                ('headers', fields.JSONField(encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('body', fields.BinaryField()),
                ('outcome', fields.CharField(max_length=16)),
                ('reason', fields.CharField(default='', max_length=255)),
                ('out_trade_no', fields.CharField(default='', max_length=32)),
                ('received_at', UtcField(db_index=True, auto_now=False, auto_now_add=False)),
                ('due_at', UtcField(null=True, db_index=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'notification', 'app': 'shop', 'unique_together': (('channel', 'key'),), 'pk_attr': 'id', 'table_description': '通知'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='OAuthState',
            fields=[
                ('state', fields.CharField(primary_key=True, unique=True, db_index=True, max_length=64)),
                ('browser', fields.CharField(max_length=64)),
                ('return_to', fields.CharField(max_length=512)),
                ('expires_at', UtcField(db_index=True, auto_now=False, auto_now_add=False)),
                ('code_hash', fields.CharField(null=True, max_length=64)),
                ('buyer_id', fields.CharField(null=True, max_length=16)),
            ],
            options={'table': 'oauth_state', 'app': 'shop', 'pk_attr': 'state', 'table_description': '网页授权'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Order',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('order_no', fields.CharField(unique=True, max_length=32)),
                ('buyer', fields.ForeignKeyField('shop.Buyer', source_field='buyer_id', db_constraint=True, to_field='id', related_name='orders', on_delete=OnDelete.RESTRICT)),
                ('state', fields.CharField(max_length=8)),
                ('total_fen', fields.BigIntField()),
                ('refunded_fen', fields.BigIntField(db_default=0)),
                ('refunding_fen', fields.BigIntField(db_default=0)),
                ('idempotency_key', fields.CharField(max_length=64)),
                ('request_hash', fields.CharField(max_length=64)),
                ('created_at', UtcField(auto_now=False, auto_now_add=False)),
                ('expires_at', UtcField(auto_now=False, auto_now_add=False)),
                ('paid_at', UtcField(null=True, auto_now=False, auto_now_add=False)),
                ('due_at', UtcField(null=True, db_index=True, auto_now=False, auto_now_add=False)),
                ('payments_made', fields.IntField(db_default=0)),
            ],
            options={'table': 'orders', 'app': 'shop', 'unique_together': (('buyer_id', 'idempotency_key'),), 'pk_attr': 'id', 'table_description': '订单'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Event',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('event_id', fields.CharField(unique=True, max_length=64)),
                ('order', fields.ForeignKeyField('shop.Order', source_field='order_id', db_constraint=True, to_field='id', related_name='events', on_delete=OnDelete.RESTRICT)),
                ('kind', fields.CharField(max_length=16)),
                ('tries', fields.IntField(db_default=0)),
                ('created_at', UtcField(auto_now=False, auto_now_add=False)),
                ('due_at', UtcField(null=True, db_index=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'event', 'app': 'shop', 'pk_attr': 'id', 'table_description': '待办事件'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='OrderItem',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('order', fields.ForeignKeyField('shop.Order', source_field='order_id', db_constraint=True, to_field='id', related_name='items', on_delete=OnDelete.RESTRICT)),
                ('sku', fields.CharField(max_length=64)),
                ('name', fields.CharField(max_length=127)),
                ('quantity', fields.IntField()),
                ('price_fen', fields.BigIntField()),
            ],
            options={'table': 'order_item', 'app': 'shop', 'pk_attr': 'id', 'table_description': '订单明细'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Payment',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('order', fields.ForeignKeyField('shop.Order', source_field='order_id', db_constraint=True, to_field='id', related_name='payments', on_delete=OnDelete.RESTRICT)),
                ('out_trade_no', fields.CharField(unique=True, max_length=32)),
                ('channel', fields.CharField(max_length=32)),
                ('scene', fields.CharField(max_length=20)),
                ('payer', fields.CharField(max_length=128)),
                ('total_fen', fields.BigIntField()),
                ('state', fields.CharField(max_length=8)),
                ('live', fields.CharField(null=True, unique=True, max_length=64)),
                ('parties', fields.JSONField(encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('request', fields.TextField(unique=False)),
                ('prepay', fields.JSONField(encoder=functools.partial(dumps, separators=(',', ':')), decoder=loads)),
                ('prepaid_at', UtcField(null=True, auto_now=False, auto_now_add=False)),
                ('sent_at', UtcField(null=True, auto_now=False, auto_now_add=False)),
                ('asked_at', UtcField(null=True, auto_now=False, auto_now_add=False)),
                ('transaction_id', fields.CharField(null=True, max_length=64)),
                ('request_id', fields.CharField(max_length=64)),
                ('looks', fields.IntField(db_default=0)),
                ('due_at', UtcField(null=True, db_index=True, auto_now=False, auto_now_add=False)),
                ('created_at', UtcField(auto_now=False, auto_now_add=False)),
                ('paid_at', UtcField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'payment', 'app': 'shop', 'unique_together': (('channel', 'transaction_id'),), 'pk_attr': 'id', 'table_description': '支付单'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='Transition',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('subject', fields.CharField(max_length=16)),
                ('number', fields.CharField(db_index=True, max_length=32)),
                ('before', fields.CharField(max_length=16)),
                ('after', fields.CharField(max_length=16)),
                ('cause', fields.CharField(max_length=255)),
                ('at', UtcField(auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'transition', 'app': 'shop', 'pk_attr': 'id', 'table_description': '状态历史'},
            bases=['Model'],
        ),
    ]
