"""The recipes of wechat/README.md, as printed, take payments in Django, Flask and FastAPI.

Each runs in an environment with nothing but the framework and what the README installs, beside a
renamed copy of the folder, until its notification has marked the order as paid.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

import httpx
import pytest

from bakes import PROJECT
from running import Demo, free_port, until

README = PROJECT / "wechat" / "README.md"
CHINESE = PROJECT / "wechat" / "README.zh-CN.md"
MOST_LINES = 10
FOLDER = "weixin_pay"
FRAMEWORKS = ("django", "flask", "fastapi")
#: what is added to the environment, and how the program is served
PACKAGES = ("django>=5.2,<6", "flask>=3.1,<4", "fastapi>=0.139,<1", "uvicorn>=0.40,<1")
SERVE = {
    "django": ("manage.py", "runserver", "--noreload", "{port}"),
    "flask": ("-m", "flask", "--app", "payments", "run", "--port", "{port}"),
    "fastapi": ("-m", "uvicorn", "payments:app", "--port", "{port}"),
}
#: what is the user's own in all three: a table of orders
ORDERS = """
import json, os
from datetime import UTC, datetime, timedelta

ENDS = datetime.now(UTC) + timedelta(minutes=30)

def find(number):
    order = {"description": "一盒茶", "total_fen": 990, "openid": os.environ["OPENID"]}
    return order | {"time_expire": ENDS}

def mark_paid(number, total_fen, transaction_id):
    with open("paid.jsonl", "a") as file:
        file.write(json.dumps([number, total_fen, transaction_id]) + "\\n")
"""
MANAGE = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
settings.configure(ROOT_URLCONF="payments", ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of the tests",
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"], DEBUG=False)
execute_from_command_line(sys.argv)
"""
#: what a page of Django's sends; WeChat does not, so its notification has to be exempt
PAGE = {"Cookie": f"csrftoken={'t' * 32}", "X-CSRFToken": "t" * 32}
#: a line of a recipe that every handler has, or that Django wants of every view
FRAMEWORK_S_OWN = re.compile(
    r"from (django|flask|fastapi)|from orders|@|(async )?def |app = |urlpatterns|$"
)


def blocks(path: Path, language: str = r"\w*") -> list[str]:
    """Return the fenced blocks of a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)


def recipe(framework: str) -> str:
    """Return the README's program for a framework."""
    [program] = [b for b in blocks(README, "python") if f"from {framework}" in b]
    return program


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment: the README's pip line, and the frameworks."""
    folder = tmp_path_factory.mktemp("fresh") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    [install] = re.findall(r"pip install (.*)$", blocks(README, "sh")[0], re.M)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*command, *re.findall(r'"(.*?)"', install), *PACKAGES], check=True, timeout=600)
    return folder / "bin" / "python"


@dataclass(frozen=True)
class App:
    """Somebody's app that runs; `folder` is where it lies."""

    url: str
    folder: Path

    def paid(self) -> list[list[object]]:
        """Return what was marked as paid."""
        path = self.folder / "paid.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@contextmanager
def served(framework: str, python: Path, folder: Path, demo: Demo, openid: str) -> Iterator[App]:
    """Write the README's program beside a renamed copy of the folder, and serve it."""
    copytree(PROJECT / "wechat", folder / FOLDER, ignore=ignore_patterns("__pycache__"))
    program = recipe(framework).replace("from wechat", f"from {FOLDER}")
    (folder / "payments.py").write_text(program, "utf-8")
    (folder / "orders.py").write_text(ORDERS, "utf-8")
    (folder / "manage.py").write_text(MANAGE, "utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "PATH": os.environ["PATH"],
        "OPENID": openid,
        "WECHATPAY_SANDBOX": demo.sandbox,
        "WECHATPAY_NOTIFY_URL": f"{url}/notify",
    }
    command = [str(python), *(word.replace("{port}", str(port)) for word in SERVE[framework])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or listens(demo.http, url), "an answer")
            assert process.poll() is None, (folder / "log").read_text("utf-8")
            yield App(url, folder)
        finally:
            process.terminate()
            process.wait(20)


def listens(http: httpx.Client, url: str) -> bool:
    """Tell whether somebody answers there, if only 404."""
    try:
        return http.get(url).status_code > 0
    except httpx.TransportError:
        return False


@pytest.mark.thorough
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_recipe_takes_a_payment_until_its_notification_marks_it_paid(
    demo: Demo, python: Path, tmp_path: Path, framework: str
) -> None:
    _, openid = demo.login_code()
    number = f"C{secrets.token_hex(8)}"
    with served(framework, python, tmp_path, demo, openid) as app:
        demo.post(f"{app.url}/orders/{number}/pay", {}, PAGE)
        invoke = demo.post(f"{app.url}/orders/{number}/pay", {}, PAGE)  # tapped twice
        done = demo.control("pay", appId=demo.app("miniprogram")["appid"], **invoke)
        assert done["err_msg"] == "requestPayment:ok", done
        until(app.paid, "the payment")
        forged = demo.http.post(f"{app.url}/notify", json={"id": "1"})
        assert forged.status_code == 500
        assert app.paid() == [[number, 990, done["transaction_id"]]]
        demo.control("notify", out_trade_no=number)
        until(lambda: len(app.paid()) == 2, "the notification again")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_glue_of_a_payment_is_at_most_ten_lines(framework: str) -> None:
    """Not counted is what is there without payments: the framework's imports, routes, `def`."""
    lines = [line for line in recipe(framework).splitlines() if line.strip()]
    glue = [line for line in lines if not FRAMEWORK_S_OWN.match(line.strip())]
    assert len(glue) <= MOST_LINES, glue


def test_both_languages_show_the_same_code() -> None:
    assert blocks(README) == blocks(CHINESE)
