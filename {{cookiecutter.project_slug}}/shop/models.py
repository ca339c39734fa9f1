"""The tables. Money is integer fen, times are aware UTC; only moves.py writes a state."""

import secrets
from datetime import UTC, datetime
from typing import Any

from tortoise import fields
from tortoise.models import Model


def random_id() -> str:
    """Return 16 random hexadecimal digits: a buyer's id tells nothing and is never used again."""
    return secrets.token_hex(8)


class UtcField(fields.DatetimeField[datetime]):
    """A time that is written as UTC, whatever zone it came in (MySQL would keep +08:00 digits)."""

    def to_db_value(self, value: Any, instance: Any) -> Any:
        """Convert to UTC; naive times are refused."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{self.model_field_name}: naive time")
        return super().to_db_value(value.astimezone(UTC), instance) if value else None


class Buyer(Model):
    """A person who buys 买家; known by one or more identities, or by none (a guest)."""

    id = fields.CharField(16, primary_key=True, default=random_id)
    created_at = UtcField()
    identities: fields.ReverseRelation["Identity"]

    class Meta:
        table = "buyer"
        table_description = "买家"


class Identity(Model):
    """One (appid, openid) of a buyer; buyers are joined only by an equal unionid."""

    id = fields.BigIntField(primary_key=True)
    buyer: fields.ForeignKeyRelation[Buyer] = fields.ForeignKeyField(
        "shop.Buyer", "identities", on_delete=fields.RESTRICT
    )
    buyer_id: str
    kind = fields.CharField(20)
    appid = fields.CharField(32)
    openid = fields.CharField(128)
    unionid = fields.CharField(128, null=True, db_index=True)

    class Meta:
        table = "identity"
        table_description = "身份"
        unique_together = (("appid", "openid"),)


class OAuthState(Model):
    """One trip to WeChat's authorize page: single use, bound to the browser that began it."""

    state = fields.CharField(64, primary_key=True)
    browser = fields.CharField(64)
    return_to = fields.CharField(512)
    expires_at = UtcField(db_index=True)
    code_hash = fields.CharField(64, null=True)
    buyer_id = fields.CharField(16, null=True)

    class Meta:
        table = "oauth_state"
        table_description = "网页授权"


class Order(Model):
    """What a buyer takes and owes 订单; the amount is frozen when it is placed.

    `widget`: the amount was typed into 金额控件. `handover` names the one token that can still
    claim it, `claimed_by` the buyer who did and may see and pay it, too.
    """

    id = fields.BigIntField(primary_key=True)
    order_no = fields.CharField(32, unique=True)
    buyer: fields.ForeignKeyRelation[Buyer] = fields.ForeignKeyField(
        "shop.Buyer", "orders", on_delete=fields.RESTRICT
    )
    buyer_id: str
    state = fields.CharField(8)
    total_fen = fields.BigIntField()
    refunded_fen = fields.BigIntField(db_default=0)
    refunding_fen = fields.BigIntField(db_default=0)
    idempotency_key = fields.CharField(64)
    request_hash = fields.CharField(64)
    created_at = UtcField()
    expires_at = UtcField()
    paid_at = UtcField(null=True)
    due_at = UtcField(null=True, db_index=True)
    payments_made = fields.IntField(db_default=0)
    widget = fields.BooleanField(db_default=False)
    handover = fields.CharField(32, null=True)
    claimed_by = fields.CharField(16, null=True, db_index=True)
    items: fields.ReverseRelation["OrderItem"]
    payments: fields.ReverseRelation["Payment"]
    refunds: fields.ReverseRelation["Refund"]

    class Meta:
        table = "orders"
        table_description = "订单"
        unique_together = (("buyer_id", "idempotency_key"),)


class OrderItem(Model):
    """One line of an order, priced from the catalogue; `merchant` gets its money ("": the shop)."""

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "shop.Order", "items", on_delete=fields.RESTRICT
    )
    order_id: int
    sku = fields.CharField(64)
    name = fields.CharField(127)
    quantity = fields.IntField()
    price_fen = fields.BigIntField()
    merchant = fields.CharField(32, default="")

    class Meta:
        table = "order_item"
        table_description = "订单明细"


class Payment(Model):
    """One attempt to pay an order 支付单; it owns one out_trade_no.

    The payments of a combined order 合单 share a `combine_out_trade_no` and move together; `part`
    1 holds request, prepay and due_at for all. `merchant` gets the money ("": the shop). `live`
    holds the order's number while money may still come, and is unique: a second live payment
    cannot exist. `request` is the body exactly as it is sent, `product` where it goes, `parties`
    the party fields in it that every later answer must repeat. `due_at` is the sweep's next look
    and its lease at once. `surplus` money came twice or too late and goes back whole. Refunds
    but CLOSED and REJECTED ones reserve `reserved_fen`, which a CHECK keeps below the total.
    """

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "shop.Order", "payments", on_delete=fields.RESTRICT
    )
    order_id: int
    out_trade_no = fields.CharField(32, unique=True)
    combine_out_trade_no = fields.CharField(32, db_index=True)
    part = fields.IntField(default=1)
    merchant = fields.CharField(32, default="")
    channel = fields.CharField(32)
    scene = fields.CharField(20)
    product = fields.CharField(20)
    payer = fields.CharField(128)
    total_fen = fields.BigIntField()
    state = fields.CharField(8)
    live = fields.CharField(64, null=True, unique=True)
    parties: dict[str, str] = fields.JSONField()
    request = fields.TextField()
    prepay: dict[str, str] = fields.JSONField()
    prepaid_at = UtcField(null=True)
    sent_at = UtcField(null=True)
    asked_at = UtcField(null=True)
    transaction_id = fields.CharField(64, null=True)
    request_id = fields.CharField(64)
    looks = fields.IntField(db_default=0)
    due_at = UtcField(null=True, db_index=True)
    created_at = UtcField()
    paid_at = UtcField(null=True, db_index=True)
    surplus = fields.BooleanField(db_default=False)
    reserved_fen = fields.BigIntField(db_default=0)
    refunded_fen = fields.BigIntField(db_default=0)
    refunds_made = fields.IntField(db_default=0)
    refund_sent_at = UtcField(null=True)
    refunds: fields.ReverseRelation["Refund"]

    class Meta:
        table = "payment"
        table_description = "支付单"
        unique_together = (("channel", "transaction_id"),)

    async def parts(self) -> list["Payment"]:
        """Read every payment that is paid together with this one, itself included, in order."""
        whole = self.combine_out_trade_no
        return await Payment.filter(combine_out_trade_no=whole).order_by("part")


class Refund(Model):
    """One return of money from a payment 退款单; it owns one out_refund_no.

    `origin` is admin, surplus or merchant_platform. `trouble` is why a PENDING one still waits.
    """

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "shop.Order", "refunds", on_delete=fields.RESTRICT
    )
    order_id: int
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "shop.Payment", "refunds", on_delete=fields.RESTRICT
    )
    payment_id: int
    channel = fields.CharField(32)
    out_refund_no = fields.CharField(64)
    refund_fen = fields.BigIntField()
    reason = fields.CharField(80)
    origin = fields.CharField(20)
    state = fields.CharField(10)
    request = fields.TextField()
    refund_id = fields.CharField(64, null=True)
    idempotency_key = fields.CharField(64, null=True)
    request_hash = fields.CharField(64, default="")
    trouble = fields.CharField(255, default="")
    looks = fields.IntField(db_default=0)
    sent_at = UtcField(null=True)
    due_at = UtcField(null=True, db_index=True)
    created_at = UtcField()
    accepted_at = UtcField(null=True, db_index=True)
    refunded_at = UtcField(null=True)

    class Meta:
        table = "refund"
        table_description = "退款单"
        unique_together = (("channel", "out_refund_no"), ("order_id", "idempotency_key"))


class Notification(Model):
    """What arrived at a notify_url with a signature that held 通知."""

    id = fields.BigIntField(primary_key=True)
    channel = fields.CharField(32)
    kind = fields.CharField(32)
    key = fields.CharField(128)
    headers: dict[str, str] = fields.JSONField()
    body = fields.BinaryField()
    outcome = fields.CharField(16)
    reason = fields.CharField(255, default="")
    out_trade_no = fields.CharField(64, default="")
    received_at = UtcField(db_index=True)
    due_at = UtcField(null=True, db_index=True)

    class Meta:
        table = "notification"
        table_description = "通知"
        unique_together = (("channel", "key"),)


class Transition(Model):
    """One move of one row, and what caused it; rows are only ever added."""

    id = fields.BigIntField(primary_key=True)
    subject = fields.CharField(16)
    number = fields.CharField(64, db_index=True)
    before = fields.CharField(16)
    after = fields.CharField(16)
    cause = fields.CharField(255)
    at = UtcField()

    class Meta:
        table = "transition"
        table_description = "状态历史"


class Event(Model):
    """Something the owner's on_paid.py must hear of; written with the state that caused it."""

    id = fields.BigIntField(primary_key=True)
    event_id = fields.CharField(64, unique=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "shop.Order", "events", on_delete=fields.RESTRICT
    )
    order_id: int
    refund: fields.ForeignKeyNullableRelation[Refund] = fields.ForeignKeyField(
        "shop.Refund", "events", on_delete=fields.RESTRICT, null=True
    )
    refund_id: int | None
    kind = fields.CharField(16)
    tries = fields.IntField(db_default=0)
    created_at = UtcField()
    due_at = UtcField(null=True, db_index=True)

    class Meta:
        table = "event"
        table_description = "待办事件"


class BillDifference(Model):
    """A line where WeChat's bill and our books disagree 差异: what is here, what is there."""

    id = fields.BigIntField(primary_key=True)
    channel = fields.CharField(32)
    date = fields.DateField(db_index=True)
    kind = fields.CharField(20)
    number = fields.CharField(64)
    here = fields.CharField(64)
    there = fields.CharField(64)
    found_at = UtcField()

    class Meta:
        table = "bill_difference"
        table_description = "账单差异"
        unique_together = (("channel", "date", "kind", "number"),)
