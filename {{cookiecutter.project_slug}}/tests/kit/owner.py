"""An owner for the tests: goods of their own, and functions that a test may replace.

Nothing here is read from the owner's files, so that no edit of theirs changes a test.
"""

from dataclasses import dataclass, replace

from checkout.events import Hooks
from checkout.models import Order, Refund


@dataclass(frozen=True)
class Product:
    """One thing for sale, as the shop asks for it."""

    sku: str
    name: str
    price_fen: int
    merchant: str = ""
    kind: str = "physical"
    image: str | None = None


PRODUCTS = (
    Product("longjing", "明前龙井 Longjing green tea 50 g", 9900),
    Product("dahongpao", "大红袍 Da Hong Pao oolong 60 g", 12800),
    Product("puer", "熟普洱 Ripe Pu'er tea 100 g", 6800),
    Product("cup", "白瓷品茗杯 White porcelain cup", 3600),
    Product("sample", "试饮装 Tasting sachet 3 g", 1),
)


def selling_for(merchant: str) -> tuple[Product, ...]:
    """Return the same goods, but the cup is this merchant's."""
    return tuple(replace(p, merchant=merchant) if p.sku == "cup" else p for p in PRODUCTS)


async def products() -> dict[str, Product]:
    """Return what is for sale."""
    return {product.sku: product for product in PRODUCTS}


async def on_paid(order: Order, event_id: str) -> None:
    """Do nothing."""


async def on_closed(order: Order, event_id: str) -> None:
    """Do nothing."""


async def on_refunded(order: Order, refund: Refund, event_id: str) -> None:
    """Do nothing."""


#: each function is looked up when it is called, so that a test can replace it
HOOKS = Hooks(
    on_paid=lambda order, event_id: on_paid(order, event_id),
    on_closed=lambda order, event_id: on_closed(order, event_id),
    on_refunded=lambda order, refund, event_id: on_refunded(order, refund, event_id),
)
