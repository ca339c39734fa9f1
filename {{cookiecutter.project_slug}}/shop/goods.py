"""What an order asks of a catalogue, whatever class your products are of."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol


class Goods(Protocol):
    """What an order asks of a product; `Product` of catalogue.py answers."""

    @property
    def sku(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def price_fen(self) -> int: ...
    @property
    def merchant(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def image(self) -> str | None: ...


Catalogue = Callable[[], Awaitable[Mapping[str, Goods]]]
