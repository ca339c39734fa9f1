"""Yours is yours: an owner edits every file that is theirs, and nothing of ours breaks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bakes import Bake
from running import free_port

pytestmark = pytest.mark.thorough

CATALOGUE = '''"""Two books, kept in a table."""

from crm.titles import Title
from shop.models import Book


async def products() -> dict[str, Title]:
    for isbn, name, fen in (("978-1", "诗 / Poems", 4500), ("978-2", "棋 / Chess", 8800)):
        await Book.get_or_create(isbn=isbn, defaults={"name": name, "fen": fen})
    return {book.isbn: Title(book.isbn, book.name, book.fen) for book in await Book.all()}
'''
TITLES = '''"""Who bought what, for the people who sell."""

from dataclasses import dataclass

from checkout.models import Order


@dataclass(frozen=True)
class Title:
    sku: str
    name: str
    price_fen: int
    merchant: str = ""
    kind: str = "physical"
    image: str | None = None
    pages: int = 100


async def turnover() -> int:
    return sum(order.total_fen for order in await Order.filter(state="PAID"))
'''
MODELS = '''

class Book(Model):
    """Something to read."""

    isbn = fields.CharField(max_length=20, unique=True)
    name = fields.CharField(max_length=100)
    fen = fields.IntField()
'''
ON_PAID = '''"""The ERP is told of everything."""

import os

import httpx

from checkout.models import Order, Refund

ERP = os.environ.get("SHOP_ERP_URL", "http://127.0.0.1:9/orders")


async def tell(body: dict[str, object]) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
        (await http.post(ERP, json=body)).raise_for_status()


async def on_paid(order: Order, event_id: str) -> None:
    await tell({"id": event_id, "paid": order.order_no, "fen": order.total_fen})


async def on_closed(order: Order, event_id: str) -> None:
    await tell({"id": event_id, "closed": order.order_no})


async def on_refunded(order: Order, refund: Refund, event_id: str) -> None:
    await tell({"id": event_id, "refunded": refund.refund_fen})
'''
ROUTES = '''"""What the sellers look at."""

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from crm.titles import turnover

blueprint = Blueprint("own")


@blueprint.get("/my/turnover")
async def my_turnover(request: Request) -> HTTPResponse:
    return json({"fen": await request.app.ctx.shop.run(turnover())})
'''


def python(folder: Path, *words: str, seconds: float = 120) -> str:
    """Run `python -m …` in a shop; it has to succeed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**clean, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder.parent / "hypothesis")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def edited(bake: Bake) -> Path:
    """A shop whose owner has made every file their own."""
    shop = bake(channels="all", project_name="书店 Books")
    (shop / "shop" / "catalogue.py").write_text(CATALOGUE, encoding="utf-8")
    (shop / "shop" / "on_paid.py").write_text(ON_PAID, encoding="utf-8")
    (shop / "shop" / "routes.py").write_text(ROUTES, encoding="utf-8")
    with (shop / "shop" / "models.py").open("a", encoding="utf-8") as models:
        models.write(MODELS)
    (shop / "crm").mkdir()
    (shop / "crm" / "__init__.py").touch()
    (shop / "crm" / "titles.py").write_text(TITLES, encoding="utf-8")
    repaint(shop / "pages")
    with (shop / ".env.example").open("a", encoding="utf-8") as example:
        example.write("\nSHOP_ERP_URL=http://127.0.0.1:9/orders\n")
    (shop / ".env").write_text(f"SHOP_APIV2_KEY=SANDBOX{'k' * 25}\n")  # `shop dev` was here
    python(shop, "tortoise", "-c", "shop.database.TORTOISE", "makemigrations")
    return shop


def repaint(pages: Path) -> None:
    """Give the pages other colours and other words."""
    changed = 0
    for path in sorted(pages.rglob("*")):
        if path.suffix in (".css", ".wxss", ".js", ".html", ".wxml"):
            text = path.read_text(encoding="utf-8")
            painted = re.sub(r"#07c160", "#1a4fd8", text, flags=re.I).replace("付款", "结账")
            changed += painted != text
            path.write_text(painted, encoding="utf-8")
    assert changed > 2


def test_a_migration_was_made_for_the_owner_s_table_alone(edited: Path) -> None:
    made = sorted(path.name for path in edited.rglob("migrations/0*.py"))
    made_by_owner = set(made) - {"0001_initial.py", "0002_refund_cap.py"}
    assert len(made_by_owner) == 1
    [file] = [path for path in edited.rglob("migrations/0*.py") if path.name in made_by_owner]
    assert file.parent == edited / "shop" / "migrations"
    assert "Book" in file.read_text(encoding="utf-8")


def test_the_demo_pays_for_the_owner_s_goods(edited: Path) -> None:
    ports = ("--port", str(free_port()), "--sandbox-port", str(free_port()))
    shown = python(edited, "shop", "demo", "--once", *ports)
    assert shown.count("PAID") >= 2


def test_the_shop_s_suite_passes(edited: Path) -> None:
    """Its tests of the protocols know nothing of the shop, and run elsewhere."""
    rooms = ("tests/money", "tests/channels", "tests/test_rules.py")
    words = ("-m", "not thorough", "-q", "-n", "2", "-p", "no:cacheprovider", *rooms)
    python(edited, "pytest", *words, seconds=900)
