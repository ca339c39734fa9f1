"""Fill a migrated database with the past of a busy shop, as fast as its driver takes rows.

`await fill(url, orders)` writes orders with everything that belongs to them, in the proportions of
a shop that has run for weeks: nearly all of it is over, a handful is live, and nothing is due:
live payments are HELD.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

Row = tuple[Any, ...]
CHUNK = 5_000  # orders that are written at once
LIVE = 60  # orders at the end of the history that are not over
ORDERS_OF_A_BUYER = 3
FEN = 9_900
APPID = "wx0000000000000001"
MCHID = "1900000001"
DETAIL = "x" * 300
REQUEST = json.dumps({"appid": APPID, "mchid": MCHID, "description": "西湖龙井", "detail": DETAIL})
BODY = json.dumps({"id": "", "resource": {"ciphertext": "x" * 600}}).encode()
HEADERS = json.dumps({"wechatpay-signature": "x" * 344, "content-type": "application/json"})
PARTIES = json.dumps({"mchid": MCHID, "appid": APPID})


@dataclass
class Table:
    """Rows that are to be written; ids count on from what was written before."""

    name: str
    columns: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    last_id: int = 0

    def add(self, **values: Any) -> int:
        """Add a row and return its id."""
        self.last_id += 1
        self.columns = ("id", *values)
        self.rows.append((self.last_id, *values.values()))
        return self.last_id


class Tables:
    """Every table that grows, in the order in which they refer to one another."""

    def __init__(self) -> None:
        self.buyers = Table("accounts_buyer", ("id", "created_at"))
        self.identities = Table("accounts_identity")
        self.orders = Table("checkout_order")
        self.items = Table("checkout_order_item")
        self.payments = Table("checkout_payment")
        self.shares = Table("checkout_share")
        self.refunds = Table("checkout_refund")
        self.notifications = Table("checkout_notification")
        self.transitions = Table("checkout_transition")
        self.events = Table("checkout_event")
        self.differences = Table("checkout_bill_difference")

    def __iter__(self) -> Iterator[Table]:
        return iter(vars(self).values())


async def fill(url: str, orders: int, *, days: int = 60, now: datetime | None = None) -> int:
    """Write so many orders of the last `days`; return the number of rows of all tables.

    The database is migrated and empty. Its statistics are up to date afterwards.
    """
    tables = Tables()
    end = now or datetime.now(UTC)
    rows = 0
    loader = LOADERS[urlsplit(url).scheme](url)
    await loader.open()
    try:
        for _ in history(tables, orders, end, timedelta(days=days)):
            for table in tables:
                await loader.insert(table)
                rows += len(table.rows)
                table.rows.clear()
        await loader.finish(tables)
    finally:
        await loader.close()
    return rows


def history(tables: Tables, orders: int, end: datetime, lasts: timedelta) -> Iterator[None]:
    """Add everything to the tables, and stop for a moment after every few thousand orders."""
    for n in range(orders):
        at = end - lasts * ((orders - n) / orders)
        state = _state(n) if n < orders - LIVE else "OPEN"
        _order(tables, n, state, at, end + timedelta(hours=1))
        if n % CHUNK == CHUNK - 1 or n == orders - 1:
            yield


def _state(n: int) -> str:
    """Let 80 of 100 orders be paid, 15 closed, 5 refunded."""
    turn = n % 100
    return "PAID" if turn < 80 else "CLOSED" if turn < 95 else "REFUNDED"


def _order(tables: Tables, n: int, state: str, at: datetime, end: datetime) -> None:
    """Write one order with all that belongs to it; an open one lasts until `end`."""
    digits = (n * 7_368_787 + 12_345) % 10**10  # scattered, and no two alike
    order_no = f"{at:%y%m%d}{digits:010}"
    is_open = state == "OPEN"
    paid_at = at + timedelta(seconds=20) if state in ("PAID", "REFUNDED") else None
    order_id = tables.orders.add(
        order_no=order_no,
        buyer=_buyer(tables, n, at),
        state=state,
        total_fen=FEN,
        paid_fen=FEN if paid_at else None,
        refunded_fen=FEN if state == "REFUNDED" else 0,
        refunding_fen=0,
        idempotency_key=f"key-{n}",
        request_hash="0" * 64,
        created_at=at,
        expires_at=end if is_open else at + timedelta(minutes=30),
        paid_at=paid_at,
        due_at=end if is_open else None,
        payments_made=1,
        widget=False,
        claimed_by=f"{n:016x}" if n % 50 == 1 else None,
    )
    for sku in ("longjing", "cup"):
        tables.items.add(
            order_id=order_id,
            sku=sku,
            name="西湖龙井",
            quantity=1,
            price_fen=FEN // 2,
            merchant="",
            kind="physical",
        )
    share_id = _payment(tables, order_id, order_no, at, paid_at, is_open=is_open)
    if state == "REFUNDED":
        _refund(tables, order_id, share_id, order_no, at + timedelta(days=1), n)
    if not is_open:
        to = "PAID" if paid_at else "CLOSED"
        _transition(tables, "order", order_no, "OPEN", to, at)
        _event(tables, f"on_{to.lower()}", order_id, None, order_no, at)
    if n % 100 == 7:
        tables.differences.add(
            channel="wechat",
            date=at.date(),
            kind="amount",
            number=order_no,
            here="1",
            there="2",
            found_at=at,
        )


def _buyer(tables: Tables, n: int, at: datetime) -> str:
    """Return the buyer of an order, who is new with every third one."""
    buyer = f"{n // ORDERS_OF_A_BUYER:016x}"
    if n % ORDERS_OF_A_BUYER == 0:
        tables.buyers.rows.append((buyer, at))
        tables.identities.add(
            buyer_id=buyer,
            kind="miniprogram",
            appid=APPID,
            openid=f"o{n:027}",
            unionid=f"u{n:027}",
        )
    return buyer


def _payment(
    tables: Tables,
    order_id: int,
    order_no: str,
    at: datetime,
    paid_at: datetime | None,
    *,
    is_open: bool,
) -> int:
    """Write the order's payment with its share and what proved it; return the share's id."""
    number = f"S{order_no}01"
    state = "HELD" if is_open else "PAID" if paid_at else "CLOSED"
    payment_id = tables.payments.add(
        order_id=order_id,
        number=number,
        channel="wechat",
        scene="miniprogram",
        product="jsapi",
        payer=f"o{order_id:027}",
        total_fen=FEN,
        state=state,
        live=order_id if is_open else None,
        parties=PARTIES,
        request=REQUEST,
        prepay=json.dumps({"prepay_id": f"wx{order_no}"}),
        prepaid_at=at,
        sent_at=at,
        expires_at=at + timedelta(minutes=30),
        request_id=order_no,
        looks=1,
        due_at=None,
        created_at=at,
        paid_at=paid_at,
        surplus=False,
    )
    _transition(tables, "payment", number, "OPEN", state, at)
    if paid_at:
        _notification(tables, "payment", order_no, number, paid_at)
    return tables.shares.add(
        payment_id=payment_id,
        out_trade_no=number,
        merchant="",
        channel="wechat",
        parties=PARTIES,
        total_fen=FEN,
        transaction_id=f"4200{order_no}" if paid_at else None,
        reserved_fen=0,
        refunded_fen=0,
        refunds_made=0,
    )


def _refund(
    tables: Tables, order_id: int, share_id: int, order_no: str, at: datetime, n: int
) -> None:
    """Write a refund that is over; one of a few hundred failed."""
    state = "CLOSED" if n % 1_000 == 995 else "SUCCESS"
    out_refund_no = f"S{order_no}01R01"
    refund_id = tables.refunds.add(
        order_id=order_id,
        share_id=share_id,
        channel="wechat",
        out_refund_no=out_refund_no,
        refund_fen=FEN,
        reserved_fen=FEN,
        reason="少发一件",
        origin="admin",
        state=state,
        request=REQUEST,
        refund_id=f"5000{out_refund_no}",
        idempotency_key=f"key-{out_refund_no}",
        request_hash="0" * 64,
        trouble="",
        looks=0,
        sent_at=at,
        due_at=None,
        created_at=at,
        accepted_at=at,
        refunded_at=at,
    )
    _event(tables, "on_refunded", order_id, refund_id, f"{order_no}-{refund_id}", at)
    _transition(tables, "refund", out_refund_no, "PENDING", "PROCESSING", at)
    _transition(tables, "refund", out_refund_no, "PROCESSING", state, at)
    _notification(tables, "refund", out_refund_no, f"S{order_no}01", at)


def _notification(tables: Tables, kind: str, key: str, number: str, at: datetime) -> None:
    """Write a notification; one of a few hundred names nobody's number."""
    is_ours = tables.notifications.last_id % 300 != 7
    tables.notifications.add(
        channel="wechat",
        kind=kind,
        inbox_key=f"{kind}-{key}",
        headers=HEADERS,
        body=BODY,
        outcome="APPLIED" if is_ours else "UNMATCHED",
        reason="",
        out_trade_no=number,
        received_at=at,
        due_at=None,
    )


def _transition(
    tables: Tables, subject: str, number: str, from_state: str, to_state: str, at: datetime
) -> None:
    tables.transitions.add(
        subject=subject,
        number=number,
        from_state=from_state,
        to_state=to_state,
        cause="notification",
        at=at,
    )


def _event(
    tables: Tables, kind: str, order_id: int, refund_id: int | None, about: str, at: datetime
) -> None:
    tables.events.add(
        event_id=f"{about}-{kind}",
        order_id=order_id,
        refund_id=refund_id,
        kind=kind,
        tries=1,
        created_at=at,
        due_at=None,
    )


class Loader(Protocol):
    """Writes rows into one kind of database."""

    def __init__(self, url: str) -> None: ...

    async def open(self) -> None:
        """Connect."""

    async def insert(self, table: Table) -> None:
        """Write the rows of a table."""

    async def finish(self, tables: Tables) -> None:
        """Let new ids count on, and bring the statistics up to date."""

    async def close(self) -> None:
        """Disconnect."""


def _insert(table: Table, mark: str) -> str:
    marks = ", ".join([mark] * len(table.columns))
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"


class SqliteLoader:
    """Writes into a SQLite file; times are the texts that Tortoise writes."""

    def __init__(self, url: str) -> None:
        self._file = url.removeprefix("sqlite://").partition("?")[0]

    async def open(self) -> None:
        """Connect; a power cut may lose this."""
        self._connection = sqlite3.connect(self._file)
        self._connection.execute("PRAGMA synchronous = OFF")

    async def insert(self, table: Table) -> None:
        """Write the rows of a table."""
        rows = [[_text(value) for value in row] for row in table.rows]
        self._connection.executemany(_insert(table, "?"), rows)
        self._connection.commit()

    async def finish(self, tables: Tables) -> None:
        """Bring the statistics up to date."""
        self._connection.execute("ANALYZE")
        self._connection.commit()

    async def close(self) -> None:
        """Disconnect."""
        self._connection.close()


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, date) else value


class PostgresLoader:
    """Writes into PostgreSQL by COPY."""

    def __init__(self, url: str) -> None:
        self._url = f"postgres://{url.partition('://')[2]}"

    async def open(self) -> None:
        """Connect."""
        import asyncpg

        self._connection = await asyncpg.connect(self._url)

    async def insert(self, table: Table) -> None:
        """Write the rows of a table."""
        await self._connection.copy_records_to_table(
            table.name, records=table.rows, columns=table.columns
        )

    async def finish(self, tables: Tables) -> None:
        """Let new ids count on, and bring statistics and visibility up to date."""
        for table in tables:
            if table.last_id:
                sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                await self._connection.execute(f"SELECT setval({sequence}, {table.last_id})")
            await self._connection.execute(f"VACUUM (ANALYZE) {table.name}")

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()


class MysqlLoader:
    """Writes into MySQL or MariaDB; times go without their zone."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def open(self) -> None:
        """Connect; the rows are consistent as they come."""
        import asyncmy

        self._connection = await asyncmy.connect(
            host=self._url.hostname,
            port=self._url.port or 3306,
            user=self._url.username,
            password=self._url.password or "",
            database=self._url.path.strip("/"),
            charset="utf8mb4",
        )
        async with self._connection.cursor() as cursor:
            await cursor.execute("SET SESSION foreign_key_checks = 0, unique_checks = 0")

    async def insert(self, table: Table) -> None:
        """Write the rows of a table."""
        rows = [tuple(map(_naive, row)) for row in table.rows]
        async with self._connection.cursor() as cursor:
            await cursor.executemany(_insert(table, "%s"), rows)
        await self._connection.commit()

    async def finish(self, tables: Tables) -> None:
        """Bring the statistics up to date."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(f"ANALYZE TABLE {', '.join(table.name for table in tables)}")
            await cursor.fetchall()

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.ensure_closed()


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


LOADERS: dict[str, type[Loader]] = {
    "sqlite": SqliteLoader,
    "postgres": PostgresLoader,
    "postgresql": PostgresLoader,
    "asyncpg": PostgresLoader,
    "mysql": MysqlLoader,
}
