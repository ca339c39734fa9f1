"""Yours: your own tables 你自己的表. An order is named by its `order_no`, never by a foreign key.

After a change: python -m tortoise -c shop.database.TORTOISE makemigrations, then
python -m shop migrate.
"""

from tortoise import fields
from tortoise.models import Model


class DeliveryNote(Model):
    """An example: what is to be sent to whom 发货单, written by on_paid.py, once per order."""

    id = fields.BigIntField(primary_key=True)
    order_no = fields.CharField(32, unique=True)
    buyer = fields.CharField(64, db_index=True)
    contents = fields.CharField(2000)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "shop_delivery_note"
