"""A short storm on each database; `python -m tests.chaos` lets longer ones happen."""

import pytest

from tests.chaos.storm import storm
from tests.chaos.town import Town


@pytest.mark.parametrize(
    ("town", "orders", "kills"),
    [("sqlite", 60, 8), ("sqlite provider", 40, 5), ("postgres", 60, 10), ("mysql", 30, 5)],
    indirect=["town"],
)
async def test_after_a_storm_the_books_are_right(town: Town, orders: int, kills: int) -> None:
    assert await storm(town, seed=7, orders=orders, kills=kills) == []
