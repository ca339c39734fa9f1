"""A short storm on each database; `python -m tests.chaos` lets longer ones happen."""

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.storm import storm


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fleet", "orders", "kills"),
    [("sqlite", 60, 8), ("sqlite provider", 40, 5), ("postgres", 60, 10), ("mysql", 30, 5)],
    indirect=["fleet"],
)
async def test_after_a_storm_the_books_are_right(fleet: Fleet, orders: int, kills: int) -> None:
    assert await storm(fleet, seed=7, orders=orders, kills=kills) == []
