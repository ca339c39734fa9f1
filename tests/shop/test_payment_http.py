"""payment.http is true: each request is sent as it stands, and what it says comes back."""

import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx

from bakes import PROJECT
from shell import PATIENCE, copied, developing, shop

FILE = PROJECT / "payment.http"
BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True)
class Step:
    """One request: its title, what comes back, the command before it, its name and its lines."""

    title: str
    expected: str
    command: str
    name: str
    request: str


def steps() -> list[Step]:
    """Read the file: ### begins a request, # a comment that may name or expect something."""
    parts = re.split(r"^### ", FILE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return [_step(part) for part in parts]


def _step(part: str) -> Step:
    title, _, rest = part.partition("\n")
    comments = re.findall(r"^# (.*)$", rest, re.MULTILINE)
    request = re.sub(r"^#.*\n", "", rest, flags=re.MULTILINE)

    def after(mark: str) -> str:
        return next((line.removeprefix(mark) for line in comments if line.startswith(mark)), "")

    return Step(title, after("-> "), after("$ "), after("@name "), request.strip())


class Client:
    """What the editor's extension does: fill in variables, send, remember named answers."""

    def __init__(self, folder: Path, shop: str, sandbox: str, http: httpx.Client) -> None:
        self.folder = folder
        self.variables = {"shop": shop, "sandbox": sandbox, "admin": "{{$dotenv SHOP_ADMIN_TOKEN}}"}
        self.answers: dict[str, Any] = {}
        self.http = http

    def send(self, step: Step) -> httpx.Response:
        """Send a request; the head ends at the empty line."""
        head, _, body = self.filled(step.request).partition("\n\n")
        (method, url), *headers = [line.split(" ", 1) for line in head.splitlines()]
        fields = {name.rstrip(":"): value for name, value in headers}
        answer = self.http.request(method, url, headers=fields, content=body or None)
        self.answers[step.name] = answer.json()
        return answer

    def filled(self, text: str) -> str:
        """Put every variable in."""
        while variable := re.search(r"\{\{([^{}]+)\}\}", text):
            text = text.replace(variable[0], self.value(variable[1].strip()), 1)
        return text

    def value(self, name: str) -> str:
        """Return what stands for a variable of the file, of .env, or of an answer."""
        if name == "$guid":
            return secrets.token_hex(16)
        if name.startswith("$dotenv "):
            lines = (self.folder / ".env").read_text("utf-8").splitlines()
            return dict(line.split("=", 1) for line in lines if "=" in line)[name.split()[1]]
        if name in self.variables:
            return self.variables[name]
        answer, _, path = name.partition(".response.body.$.")
        return str(inside(self.answers[answer], path))


def inside(value: Any, path: str) -> Any:
    """Follow a path such as apps[0].appid."""
    for key in re.findall(r"\w+", path):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def holds(answer: httpx.Response, expected: str) -> bool:
    """Compare an answer with `200` or `200, path value`."""
    status, _, fact = expected.partition(", ")
    if answer.status_code != int(status):
        return False
    path, _, wanted = fact.partition(" ")
    value = inside(answer.json(), path) if path else ""
    return not path or (value if isinstance(value, str) else json.dumps(value)) == wanted


def test_every_request_of_the_file_does_what_it_says(tmp_path: Path) -> None:
    folder = copied(tmp_path / "shop")
    with developing(folder) as dev, httpx.Client(trust_env=False, timeout=30) as http:
        dev.until(lambda: dev.http.get("/readyz").is_success)
        shop_at, sandbox_at = (f"http://127.0.0.1:{port}" for port in dev.ports)
        client = Client(folder, shop_at, sandbox_at, http)
        for step in steps():
            if step.command:
                today = f"{datetime.now(BEIJING):%Y-%m-%d}"
                words = step.command.replace("TODAY 今天的日期", today).split()[3:]
                env = {"SHOP_SANDBOX_URL": sandbox_at, "SHOP_PUBLIC_URL": shop_at}
                done = shop(folder, *words, seconds=PATIENCE, env=env)
                assert done.returncode == 0, done.stdout + done.stderr
            # what comes later is asked for again, as the file says
            dev.until(lambda step=step: holds(client.send(step), step.expected))


def test_the_file_tells_the_whole_life() -> None:
    titles = " ".join(step.title for step in steps())
    for word in ("wx.login", "会话", "下订单", "发起支付", "付款", "通知", "退一分钱", "对账"):
        assert word in titles
    assert all(step.expected for step in steps())
