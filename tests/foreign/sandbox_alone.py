"""A sandbox without a shop, started with its own command: all that other people's SDKs need."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from bakes import PROJECT
from running import JSON

BEIJING = timezone(timedelta(hours=8))
DAY = 24 * 3600


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: its address, and a client."""

    url: str
    http: httpx.Client

    @cached_property
    def credentials(self) -> JSON:
        """Every key of both sides."""
        credentials: JSON = self.http.get("/_sandbox/credentials").json()
        return credentials

    def app(self, kind: str) -> JSON:
        """Return the merchant's app of this kind: appid and secret."""
        return next(app for app in self.credentials["apps"] if app["kind"] == kind)

    def control(self, name: str, **form: Any) -> JSON:
        """Turn a control; the answer has to be a success."""
        answer = self.http.post(f"/_sandbox/{name}", json=form)
        assert answer.is_success, answer.text
        result: JSON = answer.json()
        return result

    def login_code(self) -> tuple[str, str]:
        """Let somebody new open the mini program; return the code of wx.login and the openid."""
        openid = f"o{secrets.token_hex(8)}"
        appid = self.app("miniprogram")["appid"]
        return self.control("login-code", appid=appid, openid=openid)["code"], openid

    def today(self) -> str:
        """Return the virtual day in Beijing, yyyy-MM-dd."""
        now: str = self.http.get("/_sandbox/clock").json()["now"]
        return now[:10]

    def write_bill(self) -> str:
        """Push the clock until today's bill is written; return that day."""
        day = self.today()
        ready = datetime.fromisoformat(f"{day}T10:00:01+08:00") + timedelta(days=1)
        now = datetime.fromisoformat(self.http.get("/_sandbox/clock").json()["now"])
        self.control("clock", advance_seconds=round((ready - now).total_seconds()))
        return day


@contextmanager
def sandbox_process(folder: Path) -> Iterator[Sandbox]:
    """Run `python -m sandbox` with its keys in a folder."""
    environment = os.environ | {"SANDBOX_VAR": str(folder), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "sandbox", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().split()[1]
            with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
                yield Sandbox(url, http)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox for the tests of a file."""
    with sandbox_process(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def set_faults(sandbox: Sandbox) -> Iterator[Callable[..., JSON]]:
    """Return a function that sets the fault menu, which is reset afterwards."""
    yield lambda **menu: sandbox.control("faults", **menu)
    sandbox.control("faults")


def redirect(patch: pytest.MonkeyPatch, sandbox: Sandbox, *hosts: str) -> None:
    """Send what `requests` would send to these hosts to the sandbox, the Host header unchanged.

    So the sandbox answers with WeChat's own addresses, which SDKs take apart.
    """
    send = HTTPAdapter.send

    def redirected(self: HTTPAdapter, request: PreparedRequest, **options: Any) -> Response:
        assert request.url
        for host in hosts:
            if request.url.startswith(f"https://{host}/"):
                request.headers["Host"] = host
                request.url = request.url.replace(f"https://{host}", sandbox.url, 1)
        return send(self, request, **options)

    patch.setattr(HTTPAdapter, "send", redirected)
