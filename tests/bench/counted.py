"""Run a module and count the statements that it sends through Tortoise.

`python -m bench.counted FILE shop serve --port 8000`: FILE holds the count, eight bytes that every
statement updates. BEGIN and COMMIT are not counted.
"""

import mmap
import runpy
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

#: the clients and their wrappers inside a transaction; the shop has its own for SQLite
SERVERS = {
    "tortoise.backends.asyncpg.client": ("AsyncpgDBClient", "TransactionWrapper"),
    "tortoise.backends.mysql.client": ("MySQLClient", "TransactionWrapper"),
}
SHOP = {**SERVERS, "checkout.sqlite": ("SqliteWithFewerHops", "SqliteTransaction")}
PEER = {
    **SERVERS,
    "tortoise.backends.sqlite.client": ("SqliteClient", "SqliteTransactionWrapper"),
}
is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)
METHODS = ("execute_query", "execute_query_dict", "execute_insert", "execute_many")


def count_into(file: Path, clients: Mapping[str, Sequence[str]]) -> None:
    """Let every statement of these clients add one to the number in `file`."""
    file.write_bytes(bytes(8))
    with file.open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 8)
    if "checkout.sqlite" in clients:  # the shop's: it sends to MySQL without these
        writes = import_module("checkout.writes")
        writes._send = _counted(writes._send, memory)  # type: ignore[attr-defined]
    originals = [
        (owner, name, getattr(owner, name))
        for module, classes in clients.items()
        for owner in (getattr(import_module(module), name) for name in classes)
        for name in METHODS
        if not ("mysql" in module and name == "execute_query_dict")  # it calls another of these
    ]
    for owner, name, method in originals:
        setattr(owner, name, _counted(method, memory))


def read(file: Path) -> int:
    """Return the number in the file."""
    number: int = struct.unpack("Q", file.read_bytes())[0]
    return number


def _counted(method: Callable[..., Any], memory: mmap.mmap) -> Callable[..., Any]:
    async def counted(*args: Any, **more: Any) -> Any:
        if is_inside.get():  # a method that calls another one is one statement
            return await method(*args, **more)
        struct.pack_into("Q", memory, 0, struct.unpack_from("Q", memory)[0] + 1)
        token = is_inside.set(True)
        try:
            return await method(*args, **more)
        finally:
            is_inside.reset(token)

    return counted


if __name__ == "__main__":
    file = Path(sys.argv[1])
    module = sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    count_into(file, SHOP if module == "shop" else PEER)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
