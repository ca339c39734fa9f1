"""The hot statements: written once as text, compiled once for each dialect.

Values pass the models' own converters (UTC, JSON, bool). A parameter `:column` or
`:column__anything` is converted as that column is; one that names no column goes as it is.
Everything that is not hot is the ORM's. Inside `work.transaction()` all of it belongs to that
transaction.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient
from tortoise.fields.base import DatabaseDefault, Field
from tortoise.models import Model

from checkout.models import Event, Notification, Order, OrderItem, Payment, Refund, Share
from checkout.work import Overtaken, again

Convert = Callable[[Any], Any]
M = TypeVar("M", bound=Model)
PARAMETER = re.compile(r":([a-z_]+)")


class Column(NamedTuple):
    """A column of an answer, and the attribute that it becomes."""

    label: str
    attribute: str
    convert: Convert | None


class Statement:
    """A statement over the columns of one or several tables."""

    def __init__(self, text: str, *tables: type[Model]) -> None:
        self._text = " ".join(text.split())
        self._tables = tables
        self._compiled: dict[str, str] = {}

    async def run(self, **values: Any) -> int:
        """Execute it; return how many rows it touched. Alone it is its own transaction."""
        return await self.run_with(self.converted(values))

    async def run_with(self, converted: list[Any]) -> int:
        """Execute it with these values, in the order of its parameters."""
        connection = _connection()
        text = self._for(connection)

        async def execute() -> int:
            return (await connection.execute_query(text, converted))[0]

        if isinstance(connection, TransactionalDBClient):
            return await execute()
        return await again(execute)

    async def many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it once for each set of values."""
        connection = _connection()
        converted = [self.converted(values) for values in rows]
        await connection.execute_many(self._for(connection), converted)

    async def read(self, **values: Any) -> list[dict[str, Any]]:
        """Return the rows, by the names of their columns."""
        return await self._read(_connection(), values)

    async def _read(
        self, connection: BaseDBAsyncClient, values: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        converted = self.converted(values)
        rows: list[dict[str, Any]] = await connection.execute_query_dict(
            self._for(connection), converted
        )
        return rows

    def _for(self, connection: BaseDBAsyncClient) -> str:
        dialect = connection.capabilities.dialect
        if dialect not in self._compiled:
            self._compiled[dialect] = placeholders(self.text, dialect)
        return self._compiled[dialect]

    def converted(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values of its parameters, in their order, as the database takes them."""
        return [convert(values[name]) for name, convert in self._converters]

    @property
    def text(self) -> str:
        """Return the SQL with its :names."""
        return self._text

    @cached_property
    def _converters(self) -> list[tuple[str, Convert]]:
        return [(name, self._converter(name)) for name in PARAMETER.findall(self._text)]

    def _converter(self, name: str) -> Convert:
        column = name.partition("__")[0]
        for table in self._tables:
            for field_name, db_column in table._meta.fields_db_projection.items():
                if column in (field_name, db_column):
                    return _to_database(table._meta.fields_map[field_name])
        return _no_time


class Read(Statement):
    """A SELECT whose `{alias}` stands for the columns of a table; gives model instances.

    `without` names columns that are not read, `only` all that are, by alias; an instance that
    lacks one says so when asked.
    """

    def __init__(
        self,
        text: str,
        without: Sequence[str] = (),
        only: Mapping[str, str] | None = None,
        **tables: type[Model],
    ) -> None:
        super().__init__(text, *tables.values())
        self._without = without
        self._only = {alias: columns.split(", ") for alias, columns in (only or {}).items()}
        self._aliases = tables
        self._instances: dict[str, list[tuple[type[Model], list[Column]]]] = {}

    async def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        """Return one instance for each alias, None where a LEFT JOIN met nothing."""
        connection = _connection()
        rows = await self._read(connection, values)
        tables = self._tables_in(connection.capabilities.dialect)
        return [tuple(_instance(table, columns, row) for table, columns in tables) for row in rows]

    @property
    def text(self) -> str:
        """Return the SQL with its :names and columns."""
        lists = {
            alias: ", ".join(f"{alias}.{column} AS {alias}_{column}" for column in columns)
            for alias, columns in self._read_columns.items()
        }
        return self._text.format(**lists)

    @cached_property
    def _read_columns(self) -> dict[str, list[str]]:
        """List the columns that are read, by alias; Tortoise knows them once it is initialised."""
        return {
            alias: [
                column
                for column in table._meta.fields_db_projection.values()
                if column in self._only.get(alias, [column]) and column not in self._without
            ]
            for alias, table in self._aliases.items()
        }

    def _tables_in(self, dialect: str) -> list[tuple[type[Model], list[Column]]]:
        """Return how the rows of a dialect become instances, by table."""
        if dialect not in self._instances:
            self._instances[dialect] = [
                (table, [_column(table, alias, name) for name in self._read_columns[alias]])
                for alias, table in self._aliases.items()
            ]
        return self._instances[dialect]


def _connection() -> BaseDBAsyncClient:
    """Return the open transaction, or the connection that the engine's tables are on."""
    return Order._meta.db


@lru_cache(maxsize=512)
def placeholders(text: str, dialect: str) -> str:
    """Write a database's own marks for the :names."""
    if dialect == "postgres":
        count = itertools.count(1)
        return PARAMETER.sub(lambda _: f"${next(count)}", text)
    return PARAMETER.sub("%s" if dialect == "mysql" else "?", text)


def _to_database(field: Field[Any]) -> Convert:
    if type(field).to_db_value is Field.to_db_value and field.field_type in (int, str):
        return _as_it_is  # the database knows these; what buyers send was checked at the edge
    return lambda value: field.to_db_value(value, None)  # type: ignore[arg-type]


def _as_it_is(value: Any) -> Any:
    return value


def _no_time(value: Any) -> Any:
    """Let a value through that belongs to no column; a time would miss its conversion."""
    assert not isinstance(value, datetime), "name the column: :due_at__before"
    return value


def _column(table: type[Model], alias: str, name: str) -> Column:
    """Return how a column is read: what its driver gives as it is needs no conversion."""
    meta = table._meta
    attribute = meta.fields_db_projection_reverse[name]
    convert: Convert | None = None
    for column, _, field in meta.db_default_fields:
        if column == name:
            convert = field.field_type
    for column, _, field in meta.db_complex_fields:
        if column == name:
            convert = field.to_python_value
    return Column(f"{alias}_{name}", attribute, convert)


def _instance(table: type[M], columns: Sequence[Column], row: Mapping[str, Any]) -> M | None:
    """Return a row that was read; Tortoise takes three times as long for some of its columns."""
    if row[columns[0].label] is None:
        return None
    instance = table.__new__(table)
    values = vars(instance)
    values.update(
        _partial=len(columns) < len(table._meta.fields_db_projection),
        _saved_in_db=True,
        _custom_generated_pk=False,
        _await_when_save={},
    )
    for label, attribute, convert in columns:
        value = row[label]
        values[attribute] = value if convert is None or value is None else convert(value)
    return instance


@lru_cache
def _insert(table: type[Model], rows: int, parent: str) -> str:
    columns = [c for c in table._meta.fields_db_projection.values() if c != "id"]
    marks = ", ".join("{parent}" if column == parent else ":value" for column in columns)
    text = f"INSERT INTO {table._meta.db_table} ({', '.join(columns)}) VALUES "  # noqa: S608
    return text + ", ".join([f"({marks})"] * rows)


@lru_cache
def _fields(table: type[Model]) -> list[tuple[str, Convert, Any]]:
    """List what an insert writes: the field's name, its conversion, its default."""
    fields = [(name, table._meta.fields_map[name]) for name in table._meta.fields_db_projection]
    return [
        (name, _to_database(field), field.db_default if field.has_db_default() else field.default)
        for name, field in fields
        if name != "id"
    ]


def insert_of(
    table: type[Model], rows: Sequence[Mapping[str, Any]], parent: str = ""
) -> tuple[str, list[Any]]:
    """Return the INSERT of rows, by field names, and its values.

    For `parent`, the column of an id that is not known yet, the text has `{parent}`.
    """
    values = [
        convert(row.get(name, default))
        for row in rows
        for name, convert, default in _fields(table)
        if name != parent
    ]
    return _insert(table, len(rows), parent), values


def fields_of(row: Model) -> dict[str, Any]:
    """Return a new row's values by field names; what only the database would fill in is set."""
    for name, _, default in _fields(type(row)):
        if isinstance(getattr(row, name), DatabaseDefault):
            setattr(row, name, default)
    return vars(row)


async def insert(*rows: Model) -> None:
    """Insert rows of one table in one statement; a single row gets its id."""
    new_id = await add(type(rows[0]), *map(fields_of, rows))
    if len(rows) == 1:
        vars(rows[0]).update(id=new_id, _saved_in_db=True)


async def add(table: type[Model], *rows: Mapping[str, Any]) -> int | None:
    """Insert rows that nobody looks at afterwards, by field names; a single row's id."""
    connection = _connection()
    text, values = insert_of(table, rows)
    dialect = connection.capabilities.dialect
    text = placeholders(text, dialect)
    if len(rows) > 1:
        await connection.execute_query(text, values)
        return None
    if dialect == "postgres":
        text += " RETURNING id"
    answer = await connection.execute_insert(text, values)
    return answer if isinstance(answer, int) else answer["id"]


@lru_cache
def _compare_and_set(table: type[Model], columns: tuple[str, ...]) -> Statement:
    changes = ", ".join(f"{column} = :{column}" for column in ("state", *columns))
    return Statement(
        f"UPDATE {table._meta.db_table} SET {changes} WHERE id = :id AND state = :state__was",  # noqa: S608
        table,
    )


def compare_and_set_of(row: Model, **values: Any) -> Statement:
    """Return the UPDATE that moves a row from the state it was read in: the heart of the ledger.

    Of any number of callers exactly one meets the row, on every database.
    """
    return _compare_and_set(type(row), tuple(values))


async def compare_and_set(row: Order | Payment | Refund, state: str, **values: Any) -> None:
    """Move a row from the state it was read in, or raise Overtaken.

    Afterwards `row` is what the table says.
    """
    statement = compare_and_set_of(row, **values)
    if not await statement.run(id=row.id, state__was=row.state, state=state, **values):
        raise Overtaken(f"{type(row).__name__} {row.id} is no longer {row.state}")
    vars(row).update(state=state, **values)


# -- place an order, start a payment

_ORDER_TO_PAY = Read(
    """SELECT {o}, {i}, {p} FROM checkout_order o
    JOIN checkout_order_item i ON i.order_id = o.id
    LEFT JOIN checkout_payment p ON p.order_id = o.id AND p.live IS NOT NULL
    WHERE o.order_no = :order_no ORDER BY i.id""",
    without=["request"],
    o=Order,
    i=OrderItem,
    p=Payment,
)
TAKE_NUMBER = Statement(
    """UPDATE checkout_order SET payments_made = :payments_made__next
    WHERE id = :id AND state = 'OPEN' AND payments_made = :payments_made""",
    Order,
)
SENT = Statement("UPDATE checkout_payment SET sent_at = :sent_at WHERE id = :id", Payment)
FAILED = Statement("UPDATE checkout_payment SET failed_code = :failed_code WHERE id = :id", Payment)
NEXT_LOOK = Statement(
    """UPDATE checkout_payment SET due_at = :due_at, looks = :looks
    WHERE id = :id AND state = :state AND due_at = :due_at__was""",
    Payment,
)
POLITE = Statement(
    """UPDATE checkout_payment SET asked_at = :asked_at WHERE id = :id
    AND (asked_at IS NULL OR asked_at <= :asked_at__before OR asked_at > :asked_at__tomorrow)""",
    Payment,
)


_ITEMS_OF = Read(
    "SELECT {i} FROM checkout_order_item i WHERE i.order_id = :order_id ORDER BY i.id", i=OrderItem
)


class OrderToPay(NamedTuple):
    """An order, its items, and the payment that is live, without its request."""

    order: Order
    items: list[OrderItem]
    live: Payment | None


async def order_to_pay(order_no: str) -> OrderToPay | None:
    """Read what starting a payment needs, in one statement."""
    rows = await _ORDER_TO_PAY.rows(order_no=order_no)
    return OrderToPay(rows[0][0], [item for _, item, _ in rows], rows[0][2]) if rows else None


async def items_of(order_id: int) -> list[OrderItem]:
    """Read the lines of an order."""
    return [item for (item,) in await _ITEMS_OF.rows(order_id=order_id)]


# -- record a payment

_PAYMENT_ROWS = Read(
    """SELECT {p}, {s}, {o}, {n} FROM checkout_share f
    JOIN checkout_payment p ON p.id = f.payment_id
    JOIN checkout_share s ON s.payment_id = p.id
    JOIN checkout_order o ON o.id = p.order_id
    LEFT JOIN checkout_notification n ON n.channel = :channel AND n.inbox_key = :inbox_key
    WHERE f.out_trade_no = :out_trade_no ORDER BY s.id""",
    only={
        "p": "id, order_id, number, channel, total_fen, state, parties, request_id, surplus",
        "n": "id, outcome, reason",
    },
    p=Payment,
    s=Share,
    o=Order,
    n=Notification,
)
PAID_SHARE = Statement(
    """UPDATE checkout_share SET transaction_id = :transaction_id, reserved_fen = :reserved_fen,
    refunds_made = :refunds_made WHERE id = :id""",
    Share,
)
CLOSE_ORDER = Statement(
    """UPDATE checkout_order SET state = 'CLOSED', due_at = NULL WHERE id = :id
    AND state = 'CLOSING' AND NOT EXISTS (SELECT 1 FROM checkout_payment
    WHERE order_id = :id AND state <> 'CLOSED')""",
    Order,
)
OPEN_PAYMENT = Statement(
    """UPDATE checkout_payment SET state = 'OPEN', prepay = :prepay, prepaid_at = :prepaid_at,
    due_at = :due_at WHERE id = :id AND state IN ('NEW', 'OPEN')""",
    Payment,
)
OTHERS_ARE_DUE = Statement(
    "UPDATE checkout_payment SET due_at = :due_at WHERE live = :order_id", Payment
)
LIVE_IS_DUE = Statement(
    "UPDATE checkout_payment SET due_at = :due_at, looks = 0 WHERE live = :order_id", Payment
)
STORE_OUTCOME = Statement(
    """UPDATE checkout_notification SET outcome = :outcome, reason = :reason,
    out_trade_no = :out_trade_no, due_at = :due_at WHERE id = :id AND outcome = :outcome__was""",
    Notification,
)


@lru_cache
def _done(events: int) -> Statement:
    ids = ", ".join([":id"] * events)
    return Statement(
        f"UPDATE checkout_event SET due_at = NULL, tries = tries + 1 WHERE id IN ({ids})",  # noqa: S608
        Event,
    )


async def note_done(events: Sequence[Event]) -> None:
    """Note that hooks have come to their end."""
    await _done(len(events)).run_with([event.id for event in events])


class PaymentRows(NamedTuple):
    """A payment with its shares and its order, and the notification that came with this key."""

    payment: Payment
    shares: list[Share]
    order: Order
    notification: Notification | None


async def payment_rows(out_trade_no: str, channel: str = "", key: str = "") -> PaymentRows | None:
    """Read the payment that any share's number names, in one statement."""
    rows = await _PAYMENT_ROWS.rows(out_trade_no=out_trade_no, channel=channel, inbox_key=key)
    if not rows:
        return None
    payment, _, order, notification = rows[0]
    return PaymentRows(payment, [share for _, share, _, _ in rows], order, notification)


# -- ask about a payment

_PAYMENT = Read("SELECT {p} FROM checkout_payment p WHERE p.id = :id", p=Payment)
_ORDER = Read("SELECT {o} FROM checkout_order o WHERE o.id = :id", o=Order)
_SHARES_IN = Read(
    "SELECT {s} FROM checkout_share s WHERE s.payment_id = :payment_id ORDER BY s.id", s=Share
)


async def refresh(payment: Payment) -> None:
    """Let a payment be as the table says."""
    [(fresh,)] = await _PAYMENT.rows(id=payment.id)
    for name in payment._meta.fields_db_projection:
        setattr(payment, name, getattr(fresh, name))


async def order_by_id(order_id: int) -> Order:
    """Read an order."""
    [(order,)] = await _ORDER.rows(id=order_id)
    return order  # type: ignore[no-any-return]


async def shares_in(payment_id: int) -> list[Share]:
    """Read the shares of a payment, in order."""
    return [share for (share,) in await _SHARES_IN.rows(payment_id=payment_id)]


# -- give money back

_ORDER_TO_REFUND = Read(
    """SELECT {o}, {p}, {s}, {r} FROM checkout_order o
    LEFT JOIN checkout_payment p ON p.order_id = o.id AND p.state = 'PAID'
    LEFT JOIN checkout_share s ON s.payment_id = p.id
    LEFT JOIN checkout_refund r ON r.order_id = o.id AND r.idempotency_key = :idempotency_key
    WHERE o.order_no = :order_no ORDER BY s.id""",
    without=["request"],
    o=Order,
    p=Payment,
    s=Share,
    r=Refund,
)
_REFUND_ROWS = Read(
    """SELECT {r}, {s}, {p}, {o}, {n} FROM checkout_refund r
    JOIN checkout_share s ON s.id = r.share_id
    JOIN checkout_payment p ON p.id = s.payment_id
    JOIN checkout_order o ON o.id = r.order_id
    LEFT JOIN checkout_notification n ON n.channel = :n_channel AND n.inbox_key = :inbox_key
    WHERE r.channel = :channel AND r.out_refund_no = :out_refund_no""",
    without=["body", "headers"],
    r=Refund,
    s=Share,
    p=Payment,
    o=Order,
    n=Notification,
)
RESERVE = Statement(
    """UPDATE checkout_share SET reserved_fen = reserved_fen + :reserved_fen,
    refunds_made = :refunds_made__next, refund_sent_at = :refund_sent_at
    WHERE id = :id AND refunds_made = :refunds_made
    AND reserved_fen + :reserved_fen <= total_fen""",
    Share,
)
TAKE_TURN = Statement(
    """UPDATE checkout_share SET refund_sent_at = :refund_sent_at WHERE id = :id
    AND (refund_sent_at IS NULL OR refund_sent_at <= :refund_sent_at__before
    OR refund_sent_at > :refund_sent_at__tomorrow)""",
    Share,
)
HOLD_BACK = Statement(
    """UPDATE checkout_refund SET due_at = :due_at
    WHERE due_at < :due_at AND channel = :channel AND state = 'PENDING' AND refused_at IS NULL
    AND EXISTS (SELECT 1 FROM checkout_share
    WHERE checkout_share.id = checkout_refund.share_id AND merchant = :merchant)""",
    Refund,
    Share,
)
ADD_TO_SHARE = Statement(
    """UPDATE checkout_share SET reserved_fen = reserved_fen + :reserved_fen,
    refunded_fen = refunded_fen + :refunded_fen WHERE id = :id
    AND reserved_fen + :reserved_fen BETWEEN 0 AND total_fen""",
    Share,
)
ADD_TO_ORDER = Statement(
    """UPDATE checkout_order SET refunding_fen = refunding_fen + :refunding_fen,
    refunded_fen = refunded_fen + :refunded_fen WHERE id = :id""",
    Order,
)
REFUND_ORDER = Statement(
    """UPDATE checkout_order SET state = 'REFUNDED'
    WHERE id = :id AND state = 'PAID' AND refunded_fen >= total_fen""",
    Order,
)


class OrderToRefund(NamedTuple):
    """An order, its paid shares with their payments, and the refund that has this key."""

    order: Order
    paid: list[tuple[Payment, Share]]
    refund: Refund | None


class RefundRows(NamedTuple):
    """A refund with all that it belongs to, and the notification that came with this key."""

    refund: Refund
    share: Share
    payment: Payment
    order: Order
    notification: Notification | None


async def order_to_refund(order_no: str, idempotency_key: str) -> OrderToRefund | None:
    """Read what a refund needs, in one statement."""
    rows = await _ORDER_TO_REFUND.rows(order_no=order_no, idempotency_key=idempotency_key)
    if not rows:
        return None
    paid = [(payment, share) for _, payment, share, _ in rows if share is not None]
    return OrderToRefund(rows[0][0], paid, rows[0][3])


async def refund_rows(
    refund_channel: str, out_refund_no: str, channel: str = "", key: str = ""
) -> RefundRows | None:
    """Read a refund by its number, in one statement."""
    rows = await _REFUND_ROWS.rows(
        channel=refund_channel, out_refund_no=out_refund_no, n_channel=channel, inbox_key=key
    )
    return RefundRows(*rows[0]) if rows else None


# -- show an order

_ORDER_TO_SHOW = Read(
    """SELECT {o}, {i} FROM checkout_order o JOIN checkout_order_item i ON i.order_id = o.id
    WHERE o.order_no = :order_no AND (o.buyer = :buyer OR o.claimed_by = :buyer) ORDER BY i.id""",
    o=Order,
    i=OrderItem,
)
_SHARES_OF = Read(
    """SELECT {p}, {s} FROM checkout_payment p JOIN checkout_share s ON s.payment_id = p.id
    WHERE p.order_id = :order_id ORDER BY p.id, s.id""",
    without=["request"],
    p=Payment,
    s=Share,
)
_REFUNDS_OF = Read(
    "SELECT {r} FROM checkout_refund r WHERE r.order_id = :order_id ORDER BY r.id",
    without=["request"],
    r=Refund,
)


async def order_of(order_no: str, buyer: str) -> tuple[Order, list[OrderItem]] | None:
    """Read an order that this buyer placed or claimed, with its items."""
    rows = await _ORDER_TO_SHOW.rows(order_no=order_no, buyer=buyer)
    return (rows[0][0], [item for _, item in rows]) if rows else None


async def shares_of(order_id: int) -> list[tuple[Payment, Share]]:
    """Read every share of an order with its payment, without the request."""
    return [(payment, share) for payment, share in await _SHARES_OF.rows(order_id=order_id)]


async def refunds_of(order_id: int) -> list[Refund]:
    """Read every refund of an order, without the request."""
    return [refund for (refund,) in await _REFUNDS_OF.rows(order_id=order_id)]


# -- sweep what is due

WINDOW = 2000  # rows, the longest due ones: in there buyers take turns

_DUE_ORDERS = Read(
    "SELECT {r} FROM checkout_order r WHERE r.due_at <= :due_at ORDER BY r.due_at LIMIT :limit",
    r=Order,
)
_DUE_NOTIFICATIONS = Read(
    """SELECT {r} FROM checkout_notification r WHERE r.due_at <= :due_at AND r.channel = :channel
    ORDER BY r.due_at LIMIT :limit""",
    r=Notification,
)


def _due_by_turns(table: str, condition: str, model: type[Model]) -> Read:
    """Build the SELECT of what is due: every buyer's first row, then every buyer's second, …

    A buyer with a thousand due payments keeps another one waiting for one of them.
    """
    return Read(
        f"""SELECT {{r}} FROM (
            SELECT w.id, w.due_at,
            ROW_NUMBER() OVER (PARTITION BY o.buyer ORDER BY w.due_at, w.id) AS turn
            FROM (
                SELECT id, order_id, due_at FROM {table}
                WHERE due_at <= :due_at AND {condition} ORDER BY due_at LIMIT {WINDOW}
            ) w JOIN checkout_order o ON o.id = w.order_id
        ) t JOIN {table} r ON r.id = t.id ORDER BY t.turn, t.due_at LIMIT :limit""",  # noqa: S608
        r=model,
    )


_DUE_PAYMENTS = _due_by_turns("checkout_payment", "channel = :channel", Payment)
_DUE_REFUNDS = _due_by_turns("checkout_refund", "channel = :channel", Refund)
_DUE_EVENTS = _due_by_turns("checkout_event", "tries = 0", Event)
_DUE_EVENTS_AGAIN = _due_by_turns("checkout_event", "tries > 0", Event)


@lru_cache
def _lease(table: type[Model]) -> Statement:
    return Statement(
        f"UPDATE {table._meta.db_table} SET due_at = :due_at WHERE id = :id AND due_at = :due_at__was",  # noqa: S608, E501
        table,
    )


async def lease(row: Order | Payment | Refund | Notification | Event, until: datetime) -> bool:
    """Move the due_at that a row was read with; tell whether nobody else did."""
    statement = _lease(type(row))
    return bool(await statement.run(id=row.id, due_at=until, due_at__was=row.due_at))


async def due_orders(due_at: datetime, limit: int) -> list[Order]:
    """Read orders whose time is over, the longest due first."""
    return [order for (order,) in await _DUE_ORDERS.rows(due_at=due_at, limit=limit)]


async def due_notifications(channel: str, due_at: datetime, limit: int) -> list[Notification]:
    """Read a channel's notifications that are open, the longest due first."""
    rows = await _DUE_NOTIFICATIONS.rows(channel=channel, due_at=due_at, limit=limit)
    return [notification for (notification,) in rows]


async def due_payments(channel: str, due_at: datetime, limit: int) -> list[Payment]:
    """Read a channel's payments that are due, by turns."""
    rows = await _DUE_PAYMENTS.rows(channel=channel, due_at=due_at, limit=limit)
    return [payment for (payment,) in rows]


async def due_refunds(channel: str, due_at: datetime, limit: int) -> list[Refund]:
    """Read a channel's refunds that are due, by turns."""
    rows = await _DUE_REFUNDS.rows(channel=channel, due_at=due_at, limit=limit)
    return [refund for (refund,) in rows]


async def due_events(due_at: datetime, limit: int) -> list[Event]:
    """Read events whose hooks were not called yet, by turns."""
    return [event for (event,) in await _DUE_EVENTS.rows(due_at=due_at, limit=limit)]


async def due_events_again(due_at: datetime, limit: int) -> list[Event]:
    """Read events whose hooks failed before: they never delay the first call of another one."""
    return [event for (event,) in await _DUE_EVENTS_AGAIN.rows(due_at=due_at, limit=limit)]
