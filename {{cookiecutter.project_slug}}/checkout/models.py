"""The engine's tables. Money is integer fen, times are aware UTC; only ledger.py writes a state."""

from datetime import UTC, datetime
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class UtcField(fields.DatetimeField[datetime]):
    """A time that is written as UTC, whatever zone it came in (MySQL would keep +08:00 digits)."""

    def to_db_value(self, value: Any, instance: Any) -> Any:
        """Convert to UTC; naive times are refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{self.model_field_name}: naive time")
        return value.astimezone(UTC)

    def to_python_value(self, value: Any) -> datetime | None:
        """Return UTC, whatever the database gives; Tortoise would look up the zone of each time."""
        if value is None:
            return None
        if isinstance(value, str):  # SQLite's
            value = datetime.fromisoformat(value)
        naive: bool = value.tzinfo is None  # MySQL's
        return value.replace(tzinfo=UTC) if naive else value.astimezone(UTC)  # type: ignore[no-any-return]


class Order(Model):
    """What a buyer takes and owes 订单; the amount is frozen when it is placed.

    The engine knows `buyer` as a text only. `paid_fen` is what was paid after coupons.
    `payments_made` counts attempts and guards the order against two at once. `widget`: the amount
    was typed into 金额控件. `handover` is the hash of the one token that can still claim the
    order, `claimed_by` the buyer who did and may see and pay it, too.
    """

    id = fields.BigIntField(primary_key=True)
    order_no = fields.CharField(32, unique=True)
    buyer = fields.CharField(64)
    state = fields.CharField(8)
    total_fen = fields.BigIntField()
    paid_fen = fields.BigIntField(null=True)
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
    handover = fields.CharField(64, null=True, unique=True)
    handover_until = UtcField(null=True)
    claimed_by = fields.CharField(64, null=True)
    items: fields.ReverseRelation["OrderItem"]
    payments: fields.ReverseRelation["Payment"]
    refunds: fields.ReverseRelation["Refund"]

    class Meta:
        table = "checkout_order"
        table_description = "订单"
        unique_together = (("buyer", "idempotency_key"),)
        indexes = (
            Index(fields=("buyer", "id")),
            Index(fields=("claimed_by", "id")),
            Index(fields=("state", "id")),
        )


class OrderItem(Model):
    """One line of an order, at the price it was placed with.

    `merchant` gets its money ("": the shop). `kind` is physical, service or virtual.
    """

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "checkout.Order", "items", on_delete=fields.RESTRICT, db_index=True
    )
    order_id: int
    sku = fields.CharField(64)
    name = fields.CharField(127)
    quantity = fields.IntField()
    price_fen = fields.BigIntField()
    merchant = fields.CharField(32, default="")
    kind = fields.CharField(16, default="physical")

    class Meta:
        table = "checkout_order_item"
        table_description = "订单明细"


class Payment(Model):
    """One attempt to pay an order 支付单: one row, one state.

    `number` is what query, close and repeat use: out_trade_no, or combine_out_trade_no 合单.
    `live` holds the order's id while money may still come, and is unique: a second live payment
    cannot exist. `request` is the body exactly as it is sent, `product` where it goes, `parties`
    the fields that say whose order it is, `prepay` what its answer gave. WeChat takes no money
    after `expires_at` (time_expire). `due_at` is the sweep's next look and its lease at once;
    `looks` counts those that brought a proved answer. `surplus` money came twice or too late.
    `failed_code` is the code of the last 5xx: the same code again is a refusal.
    """

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "checkout.Order", "payments", on_delete=fields.RESTRICT, db_index=True
    )
    order_id: int
    number = fields.CharField(32, unique=True)
    channel = fields.CharField(32)
    scene = fields.CharField(20)
    product = fields.CharField(20)
    payer = fields.CharField(128)
    total_fen = fields.BigIntField()
    state = fields.CharField(8)
    live = fields.BigIntField(null=True, unique=True)
    parties: dict[str, str] = fields.JSONField()
    request = fields.TextField()
    prepay: dict[str, str] = fields.JSONField()
    prepaid_at = UtcField(null=True)
    sent_at = UtcField(null=True)
    asked_at = UtcField(null=True)
    expires_at = UtcField()
    request_id = fields.CharField(64)
    looks = fields.IntField(db_default=0)
    due_at = UtcField(null=True, db_index=True)
    created_at = UtcField()
    paid_at = UtcField(null=True, db_index=True)
    surplus = fields.BooleanField(db_default=False)
    failed_code = fields.CharField(64, null=True)
    shares: fields.ReverseRelation["Share"]

    class Meta:
        table = "checkout_payment"
        table_description = "支付单"
        indexes = (Index(fields=("state", "id")),)


class Share(Model):
    """One merchant's piece of a payment 份; it owns one out_trade_no. Most payments have one.

    `merchant` gets the money ("": the shop), `parties` are the fields that name it in answers.
    Refunds but CLOSED and REJECTED ones reserve `reserved_fen`, which a CHECK keeps below the
    total; `refunds_made` numbers them, `refund_sent_at` spaces them.
    """

    id = fields.BigIntField(primary_key=True)
    payment: fields.ForeignKeyRelation[Payment] = fields.ForeignKeyField(
        "checkout.Payment", "shares", on_delete=fields.RESTRICT, db_index=True
    )
    payment_id: int
    out_trade_no = fields.CharField(32, unique=True)
    merchant = fields.CharField(32)
    channel = fields.CharField(32)
    parties: dict[str, str] = fields.JSONField()
    total_fen = fields.BigIntField()
    transaction_id = fields.CharField(64, null=True)
    reserved_fen = fields.BigIntField(db_default=0)
    refunded_fen = fields.BigIntField(db_default=0)
    refunds_made = fields.IntField(db_default=0)
    refund_sent_at = UtcField(null=True)
    refunds: fields.ReverseRelation["Refund"]

    class Meta:
        table = "checkout_share"
        table_description = "份"
        unique_together = (("channel", "transaction_id"),)


class Refund(Model):
    """One return of money from a share 退款单; it owns one out_refund_no.

    `origin` is admin, surplus or merchant_platform. `reserved_fen` is what it holds of the
    share's cap. `trouble` is why a PENDING one still waits, their code and Request-ID;
    `refused_at` when it was refused and its quiet period began. `accepted_at` is WeChat's time or
    the best we know, None: nothing.
    """

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "checkout.Order", "refunds", on_delete=fields.RESTRICT
    )
    order_id: int
    share: fields.ForeignKeyRelation[Share] = fields.ForeignKeyField(
        "checkout.Share", "refunds", on_delete=fields.RESTRICT, db_index=True
    )
    share_id: int
    channel = fields.CharField(32)
    out_refund_no = fields.CharField(64)
    refund_fen = fields.BigIntField()
    reserved_fen = fields.BigIntField()
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
    refused_at = UtcField(null=True)
    due_at = UtcField(null=True, db_index=True)
    created_at = UtcField()
    accepted_at = UtcField(null=True, db_index=True)
    refunded_at = UtcField(null=True)

    class Meta:
        table = "checkout_refund"
        table_description = "退款单"
        unique_together = (("channel", "out_refund_no"), ("order", "idempotency_key"))
        indexes = (Index(fields=("state", "id")),)


class Notification(Model):
    """What arrived at a notify_url with a signature that held 通知, and what became of it."""

    id = fields.BigIntField(primary_key=True)
    channel = fields.CharField(32)
    kind = fields.CharField(32)
    key = fields.CharField(128, source_field="inbox_key")
    headers: dict[str, str] = fields.JSONField()
    body = fields.BinaryField()
    outcome = fields.CharField(16)
    reason = fields.CharField(255, default="")
    out_trade_no = fields.CharField(64, default="")
    received_at = UtcField()
    due_at = UtcField(null=True, db_index=True)

    class Meta:
        table = "checkout_notification"
        table_description = "通知"
        unique_together = (("channel", "key"),)
        indexes = (Index(fields=("outcome", "id")),)


class Transition(Model):
    """One move of one row that moves money, and what caused it; rows are only ever added."""

    id = fields.BigIntField(primary_key=True)
    subject = fields.CharField(16)
    number = fields.CharField(64)
    from_state = fields.CharField(16)
    to_state = fields.CharField(16)
    cause = fields.CharField(255)
    at = UtcField()

    class Meta:
        table = "checkout_transition"
        table_description = "状态历史"


class Event(Model):
    """Something the owner's hooks must hear of; written with the state that caused it."""

    id = fields.BigIntField(primary_key=True)
    event_id = fields.CharField(64, unique=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField(
        "checkout.Order", "events", on_delete=fields.RESTRICT, db_index=True
    )
    order_id: int
    refund: fields.ForeignKeyNullableRelation[Refund] = fields.ForeignKeyField(
        "checkout.Refund", "events", on_delete=fields.RESTRICT, null=True, db_index=True
    )
    refund_id: int | None
    kind = fields.CharField(16)
    tries = fields.IntField(db_default=0)
    created_at = UtcField()
    due_at = UtcField(null=True, db_index=True)

    class Meta:
        table = "checkout_event"
        table_description = "待办事件"


class BillDifference(Model):
    """A line where WeChat's bill and our books disagree 差异: what is here, what is there."""

    id = fields.BigIntField(primary_key=True)
    channel = fields.CharField(32)
    date = fields.DateField()
    kind = fields.CharField(20)
    number = fields.CharField(64)
    here = fields.CharField(64)
    there = fields.CharField(64)
    found_at = UtcField()

    class Meta:
        table = "checkout_bill_difference"
        table_description = "账单差异"
        unique_together = (("channel", "date", "kind", "number"),)
        indexes = (Index(fields=("date", "id")),)
