"""Yours: what you sell, in fen (1 yuan = 100 fen). 你卖的东西, 以分计价."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """One thing for sale; `price_fen` is what the buyer pays for one.

    `name` may have two languages, "中文 / English": the pages show one of them.
    `merchant` is the merchant number 商户号 that gets the money, "" the shop's own; an order for
    several merchants is paid combined 合单. Service providers name a sub merchant 特约商户.
    `kind` is physical, service or virtual. Virtual goods 虚拟商品 (memberships, courses, top-ups)
    are refused in a mini program with VIRTUAL_GOODS: WeChat wants 小程序虚拟支付 there, on every
    device. Other scenes sell them.
    `image` is an https address or a path such as /h5/tea.jpg; without it a picture is drawn.
    """

    sku: str
    name: str
    price_fen: int
    merchant: str = ""
    kind: str = "physical"
    image: str | None = None


PRODUCTS = (
    Product("longjing", "明前龙井 50 克 / Longjing green tea 50 g", 9900),
    Product("dahongpao", "大红袍 60 克 / Da Hong Pao oolong 60 g", 12800),
    Product("puer", "熟普洱 100 克 / Ripe Pu'er tea 100 g", 6800),
    Product("cup", "白瓷品茗杯 / White porcelain cup", 3600),
    Product("sample", "试饮装 3 克 / Tasting sachet 3 g", 1),
)


async def products() -> dict[str, Product]:
    """Return what is for sale now, by sku; read it from your own database if you have one."""
    return {product.sku: product for product in PRODUCTS}
