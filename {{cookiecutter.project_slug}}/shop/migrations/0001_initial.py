from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    initial = True

    operations = [
        ops.CreateModel(
            name='DeliveryNote',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('order_no', fields.CharField(unique=True, max_length=32)),
                ('buyer', fields.CharField(db_index=True, max_length=64)),
                ('contents', fields.CharField(max_length=2000)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'shop_delivery_note', 'app': 'shop', 'pk_attr': 'id', 'table_description': 'An example: what is to be sent to whom 发货单, written by on_paid.py, once per order.'},
            bases=['Model'],
        ),
    ]
