"""A sandbox, a database, and shops that can be killed: each a process of its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from checkout.channels import demo_settings
from kit.running import partner, settings
from shop.settings import ROOT

PATIENCE = 20
TEMPLATE = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Instance:
    """One shop: its address stays, its process comes and goes."""

    port: int
    pid: int = 0
    lives: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return self._signal(0)

    def kill(self) -> None:
        """Kill it without warning."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Send a signal; tell whether there is a process. Never to 0: that is our own group."""
        if not self.pid:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


@dataclass
class Fleet:
    """Everything that runs; `database_url` is migrated already.

    `answers` counts what buyers were answered, by status.
    """

    folder: Path
    database_url: str
    instances: int = 1
    provider: bool = False
    shops: list[Instance] = field(default_factory=list)
    kills: int = 0
    answers: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._menu = asyncio.Lock()

    async def __aenter__(self) -> "Fleet":
        port = free_port()
        self._sandbox = self._start_sandbox(port)
        self.sandbox = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20
        )
        await self._answers(self.sandbox, "/healthz")
        self.credentials = (await self.sandbox.get("/_sandbox/credentials")).json()
        self.shops = [Instance(free_port()) for _ in range(self.instances)]
        self._forks = [self._fork_server(shop) for shop in self.shops]
        return self

    async def __aexit__(self, *_: object) -> None:
        for forks in self._forks:
            forks.kill()
        for shop in self.shops:
            shop.kill()
        self._sandbox.kill()
        await self.sandbox.aclose()
        processes: list[subprocess.Popen[Any]] = [*self._forks, self._sandbox]
        for process in processes:
            process.communicate()  # and close its pipes

    def environment(self, shop: Instance) -> dict[str, str]:
        """Return the settings of one instance; notifications come back to its own address.

        The cup belongs to another merchant; `provider` makes the shop a service provider's.
        """
        url = str(self.sandbox.base_url).rstrip("/")
        keys = self.credentials
        direct = settings(keys, url, shop.url, self.database_url)
        other = keys["sub"][1] if self.provider else keys["others"][0]
        more = partner(keys) if self.provider else demo_settings(keys)
        return {**os.environ, **direct, **more, "CHAOS_OTHER_MERCHANT": other["mchid"]}

    @property
    def miniprogram(self) -> str:
        """The appid in which buyers log in."""
        return self.environment(self.shops[0])["SHOP_MINIPROGRAM_APPID"]

    async def start(self, shop: Instance, point: str = "") -> None:
        """Start an instance and wait until it answers, or has died at its point already."""
        forks = self._forks[self.shops.index(shop)]
        shop.lives += 1
        log = str(self.folder / "shop.log")
        events = str(self.folder / "events")
        order = {"port": shop.port, "point": point, "log": log, "events": events}
        assert forks.stdin
        assert forks.stdout
        forks.stdin.write(json.dumps({**order, "generation": shop.lives}) + "\n")
        forks.stdin.flush()
        shop.pid = int(await asyncio.to_thread(forks.stdout.readline))
        async with httpx.AsyncClient(base_url=shop.url, trust_env=False) as http:
            await self._answers(http, "/readyz", shop)

    async def control(self, name: str, **body: Any) -> dict[str, Any]:
        """Turn a control of the sandbox."""
        answer = await self.sandbox.post(f"/_sandbox/{name}", json=body)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    @asynccontextmanager
    async def weather(self, **menu: Any) -> AsyncIterator[None]:
        """Keep one fault menu while something happens; others wait for theirs."""
        async with self._menu:
            await self.control("faults")
            if menu:
                await self.control("faults", **menu)
            yield

    def heard_events(self) -> list[tuple[str, bool]]:
        """Return the events that the owner's functions heard of, in order: id, committed by then."""
        file = self.folder / "events"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(line.split()[0], line.endswith(" committed")) for line in lines]

    def _start_sandbox(self, port: int) -> subprocess.Popen[bytes]:
        env = {**os.environ, "SANDBOX_VAR": str(self.folder)}
        with (self.folder / "sandbox.log").open("ab") as log:
            command = [sys.executable, "-m", "sandbox", "--port", str(port)]
            return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)

    def _fork_server(self, shop: Instance) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forks"],
            cwd=TEMPLATE,
            env={**self.environment(shop), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def _answers(
        self, http: httpx.AsyncClient, path: str, shop: Instance | None = None
    ) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if (await http.get(path)).status_code == 200:
                    return
            if shop and not shop.alive:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{http.base_url}{path} does not answer: see {self.folder}")
