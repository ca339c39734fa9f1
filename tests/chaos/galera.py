"""Two MariaDB Galera nodes on this machine, in a folder of their own."""

import asyncio
import getpass
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncmy
from asyncmy.errors import OperationalError

from tests.chaos.fleet import free_port

LIBRARIES = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
PROGRAMS = ("mariadbd", "mariadb-install-db", "rsync")
START_SECONDS = 60
#: little memory, and a read sees what the other node has committed
OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--binlog-format=ROW",
    "--default-storage-engine=InnoDB",
    "--innodb-autoinc-lock-mode=2",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--wsrep-on=ON",
    "--wsrep-node-address=127.0.0.1",
    "--wsrep-sst-method=rsync",
    "--wsrep-sync-wait=1",
)


def missing() -> list[str]:
    """Name the programs that this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return absent if _library() else [*absent, "galera-4"]


@asynccontextmanager
async def cluster() -> AsyncIterator[list[str]]:
    """Start two nodes; their URLs, for an empty database `shop` that both have."""
    folder = _new_folder()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _install(folder / "first")
        _own_folder(folder / "second")
        group = [free_port(), free_port()]
        first = await stack.enter_async_context(_node(folder / "first", "gcomm://", group[0]))
        second = await stack.enter_async_context(
            _node(folder / "second", f"gcomm://127.0.0.1:{group[0]}", group[1])
        )
        await _execute(first, "CREATE DATABASE shop")
        yield [f"mysql://root@127.0.0.1:{port}/shop" for port in (first, second)]


def _library() -> str:
    return next(filter(os.path.exists, LIBRARIES), "")


def _user() -> str:
    """Return who runs the nodes: root may not, rsync would write as nobody."""
    return "mysql" if getpass.getuser() == "root" else getpass.getuser()


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="galera-"))
    folder.chmod(0o755)  # the user mysql has to come through
    return folder


def _own_folder(folder: Path) -> None:
    folder.mkdir()
    shutil.chown(folder, _user())


def _install(folder: Path) -> None:
    _own_folder(folder)
    command = [
        "mariadb-install-db",
        "--no-defaults",
        f"--user={_user()}",
        f"--datadir={folder}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@asynccontextmanager
async def _node(folder: Path, group: str, group_port: int) -> AsyncIterator[int]:
    """Run one node until it is synced with the group; its port."""
    port = free_port()
    log = folder.with_suffix(".log")
    listen = f"gmcast.listen_addr=tcp://127.0.0.1:{group_port};base_port={group_port}"
    command = [
        shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "mariadbd",
        "--no-defaults",
        f"--user={_user()}",
        f"--datadir={folder}",
        f"--socket={folder}/socket",
        f"--pid-file={folder}/pid",
        f"--port={port}",
        *OPTIONS,
        f"--wsrep-provider={_library()}",
        f"--wsrep-provider-options={listen};ist.recv_addr=127.0.0.1:{free_port()};gcache.size=16M",
        f"--wsrep-cluster-address={group}",
        f"--wsrep-sst-receive-address=127.0.0.1:{free_port()}",
    ]
    process = _launch(command, log)
    try:
        await _wait_until_synced(process, port, log)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)  # the folder goes, too
        process.wait(START_SECONDS)


def _launch(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _wait_until_synced(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            status = await _execute(port, "SHOW STATUS LIKE 'wsrep_local_state_comment'")
        except OperationalError:
            status = []
        if ("wsrep_local_state_comment", "Synced") in status:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"a node did not join: {_end_of(log)}")


async def _execute(port: int, statement: str) -> Sequence[tuple[str, ...]]:
    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="root", connect_timeout=2)
    async with connection.cursor() as cursor:
        await cursor.execute(statement)
        rows: Sequence[tuple[str, ...]] = await cursor.fetchall()
    await connection.ensure_closed()
    return rows
