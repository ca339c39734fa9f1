"""A database that cannot be used ends a command in seconds, with one sentence and no password."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest
from kit.databases import absent

from shell import clean, sandbox, settings_of, shop

COMMANDS = (
    ("migrate",),
    ("serve", "--port", "0"),
    ("doctor",),
    ("sweep", "--once"),
    ("bill", "--date", "2026-01-31"),
)
SECONDS = 30  # for a busy machine; at rest each takes one or six
PASSWORD = "hunter2secret"
NOTE = """
from tortoise import fields
from tortoise.models import Model

class Note(Model):
    id = fields.IntField(primary_key=True)
"""
POSTGRES = os.environ.get("SHOP_TEST_POSTGRES_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
MYSQL = os.environ.get("SHOP_TEST_MYSQL_URL") or "mysql://root@127.0.0.1:3306/mysql"


@pytest.fixture(scope="module")
def settings(shop_folder: Path) -> Iterator[dict[str, str]]:
    """Settings in which everything is right but the database."""
    with sandbox(shop_folder) as url:
        yield dict(settings_of(url))


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def dropping() -> Iterator[int]:
    """A port that drops packets: its queue of connections is full, nobody takes one."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def strict() -> Iterator[int]:
    """A PostgreSQL that refuses every password: no TLS, then 28P01."""

    def refuse(server: socket.socket) -> None:
        fields = (b"SFATAL", b"VFATAL", b"C28P01", b"Mpassword authentication failed", b"")
        body = b"\0".join(fields) + b"\0"
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if len(connection.recv(8)) == 8:
                    connection.sendall(b"N")
                connection.recv(4096)
                connection.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=refuse, args=(server,), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the one sentence of a command that could not use its database."""
    assert done.returncode in (1, 2), done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if "doctor" in done.args:
        (line,) = [line for line in done.stdout.splitlines() if "SHOP_DATABASE_URL" in line]
        return line
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def run(
    folder: Path, settings: dict[str, str], words: tuple[str, ...], url: str, **env: str
) -> str:
    """Run a command with this database; drivers alone would wait for a minute or for ever."""
    more = {**settings, "SHOP_DATABASE_URL": url, **env}
    return sentence(shop(folder, *words, seconds=SECONDS, env=more))


@pytest.mark.parametrize(
    ("words", "scheme"), [*[(w, "postgresql") for w in COMMANDS], (("migrate",), "mysql")]
)
def test_a_port_that_drops_packets_ends_in_seconds(
    shop_folder: Path, settings: dict[str, str], dropping: int, words: tuple[str, ...], scheme: str
) -> None:
    url = f"{scheme}://tea:{PASSWORD}@127.0.0.1:{dropping}/books"
    line = run(shop_folder, settings, words, url)
    assert f"database books at 127.0.0.1:{dropping}: no answer within 5 s" in line


@pytest.mark.parametrize("scheme", ["postgres", "mysql"])
def test_a_server_that_never_answers_ends_in_seconds(
    shop_folder: Path, settings: dict[str, str], silent: int, scheme: str
) -> None:
    line = run(shop_folder, settings, ("migrate",), f"{scheme}://a:{PASSWORD}@127.0.0.1:{silent}/b")
    assert "no answer within 5 s" in line


@pytest.mark.parametrize("words", [("migrate",), ("serve", "--port", "0")])
def test_a_wrong_password_is_told_and_not_repeated(
    shop_folder: Path, settings: dict[str, str], strict: int, words: tuple[str, ...]
) -> None:
    url = f"postgresql://tea:{PASSWORD}@127.0.0.1:{strict}/books"
    line = run(shop_folder, settings, words, url)
    assert f"database books at 127.0.0.1:{strict}: the user or the password is wrong" in line


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgres://a:{PASSWORD}@127.0.0.1:1/b", "nobody listens there"),
        (f"mysql://a:{PASSWORD}@127.0.0.1:1/b", "nobody listens there"),
        (f"postgres://a:{PASSWORD}@no-such-host.invalid/b", "there is no host of this name"),
        (f"mysql://a:{PASSWORD}@no-such-host.invalid/b", "there is no host of this name"),
    ],
)
def test_a_host_that_is_not_there_is_told(
    shop_folder: Path, settings: dict[str, str], url: str, reason: str
) -> None:
    assert reason in run(shop_folder, settings, ("migrate",), url)


def server(url: str) -> str:
    """Skip where this server is not there."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition("@")[2].partition("/")[0].partition(":")
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port or 5432))):
            absent(f"no {scheme} at {host}")
    return f"{scheme}://{rest}"


@pytest.mark.parametrize(
    ("words", "url"), [*[(words, POSTGRES) for words in COMMANDS], (("migrate",), MYSQL)]
)
def test_a_database_that_is_missing_is_told(
    shop_folder: Path, settings: dict[str, str], url: str, words: tuple[str, ...]
) -> None:
    missing = server(url).rpartition("/")[0] + "/no_such_database"
    line = run(shop_folder, settings, words, missing)
    assert "database no_such_database at " in line
    assert "there is no such database: create it first" in line


def test_a_user_whom_mysql_refuses_is_told(shop_folder: Path, settings: dict[str, str]) -> None:
    host = server(MYSQL).rpartition("@")[2]
    line = run(shop_folder, settings, ("migrate",), f"mysql://nobody:{PASSWORD}@{host}")
    assert "the user or the password is wrong" in line


@pytest.mark.parametrize(
    ("words", "scheme", "extra", "drivers"),
    [
        *[(words, "postgres", "postgres", ["asyncpg"]) for words in COMMANDS],
        (("migrate",), "postgresql", "postgres", ["asyncpg"]),
        (("migrate",), "mysql", "mysql", ["asyncmy", "aiomysql"]),
    ],
)
def test_a_missing_driver_names_the_extra_to_install(
    shop_folder: Path,
    settings: dict[str, str],
    tmp_path: Path,
    words: tuple[str, ...],
    scheme: str,
    extra: str,
    drivers: list[str],
) -> None:
    for name in drivers:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})")
    url = f"{scheme}://tea:{PASSWORD}@db.liangzhu.cn:6543/books"
    line = run(shop_folder, settings, words, url, PYTHONPATH=str(tmp_path))
    assert "database books at db.liangzhu.cn:6543" in line
    assert f"python -m pip install -e '.[{extra}]'" in line


@pytest.mark.parametrize("words", [("migrate",), ("doctor",)])
def test_a_sqlite_file_in_a_folder_that_cannot_be_made_is_told(
    shop_folder: Path, settings: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    line = run(shop_folder, settings, words, f"sqlite://{tmp_path}/file/shop.db")
    assert f"SQLite file {tmp_path}/file/shop.db: its folder cannot be made" in line


@pytest.mark.parametrize("words", [("migrate",), ("sweep", "--once")])
def test_a_sqlite_file_that_may_only_be_read_is_told(
    shop_folder: Path, settings: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as books:
        books.execute("CREATE TABLE kept (id)")
    file.chmod(0o444)
    done = shop(
        shop_folder,
        *words,
        seconds=SECONDS,
        prefix=without_privilege(),
        env={**settings, "SHOP_DATABASE_URL": f"sqlite://{file}"},
    )
    assert f"SQLite file {file}: the file is read-only for this user" in sentence(done)


def without_privilege() -> tuple[str, ...]:
    """Return what takes root's right to write anywhere away."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        absent("root writes everywhere, and setpriv is not there")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


def test_a_file_that_is_no_database_is_told(
    shop_folder: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "shop.db").write_text("not a database, but long enough to look at" * 20)
    line = run(shop_folder, settings, ("migrate",), f"sqlite://{tmp_path}/shop.db")
    assert "the file is no SQLite database" in line


@pytest.mark.parametrize("words", [("sweep", "--once"), ("bill", "--date", "2026-01-31")])
def test_an_empty_database_says_what_to_type(
    shop_folder: Path, settings: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    line = run(shop_folder, settings, words, f"sqlite://{tmp_path}/shop.db")
    assert "python -m shop migrate" in line


def test_migrations_end_at_once_when_their_lock_cannot_be_had(
    shop_folder: Path, settings: dict[str, str]
) -> None:
    """A lock that fails was waited for without end."""
    script = """
import asyncio, os
from checkout import database as engine
from shop import database
async def main(url):
    await database.connect(url)
    engine.LOCKS = {"postgres": ("SELECT 1/0",)}
    migrating = asyncio.create_task(engine.migrate(database.APPS))
    done, _ = await asyncio.wait([migrating], timeout=8)
    print(type(migrating.exception()).__name__ if done else "hangs", flush=True)
    os._exit(0)
import sys
asyncio.run(main(sys.argv[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, server(POSTGRES)],
        cwd=shop_folder,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "OperationalError"), done.stderr


@pytest.mark.parametrize("words", [("migrate",), ("history",)])
def test_the_tortoise_command_changes_nothing_and_says_what_to_type(
    shop_folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "shop.db"
    done = tortoise(shop_folder, *words, SHOP_DATABASE_URL=f"sqlite://{file}")
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing was done. Type: python -m shop migrate")
    assert not file.exists()
    assert not (shop_folder / "var" / "shop.db").exists()


def test_the_tortoise_command_still_makes_migrations(tmp_path: Path, shop_folder: Path) -> None:
    folder = Path(shutil.copytree(shop_folder, tmp_path / "shop"))
    (folder / "shop" / "models.py").write_text(NOTE)
    shutil.rmtree(folder / "shop" / "migrations")
    done = tortoise(folder, "makemigrations")
    assert done.returncode == 0, done.stderr
    assert "Created" in done.stdout
    assert len(list((folder / "shop" / "migrations").glob("0*.py"))) == 1


def tortoise(folder: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tortoise", "-c", "shop.database.TORTOISE", *words],
        cwd=folder,
        env=clean(**env),
        capture_output=True,
        encoding="utf-8",
        timeout=20,
    )


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_both_names_of_postgres_are_accepted(
    shop_folder: Path, settings: dict[str, str], scheme: str
) -> None:
    rest = server(POSTGRES).partition("://")[2]
    done = shop(shop_folder, "doctor", env={**settings, "SHOP_DATABASE_URL": f"{scheme}://{rest}"})
    assert "database answers" in done.stdout
