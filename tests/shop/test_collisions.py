"""Collisions run again; what still collides asks for another call, at different moments."""

import pytest
from checkout.errors import CallAgain
from checkout.work import Work, again
from tortoise.exceptions import OperationalError


async def collide() -> None:
    raise OperationalError(1213, "Deadlock found when trying to get lock")


async def test_a_statement_that_collides_alone_asks_for_another_call() -> None:
    with pytest.raises(CallAgain):
        await Work().run(collide(), seconds=5)


async def test_those_who_collided_are_not_all_asked_back_at_the_same_moment() -> None:
    moments = set()
    for _ in range(40):
        with pytest.raises(CallAgain) as caught:
            await Work().run(collide(), seconds=5)
        moments.add(caught.value.retry_after)
    assert len(moments) > 1


async def test_a_unit_that_collides_once_runs_again() -> None:
    tries = []

    async def unit() -> str:
        tries.append(1)
        if len(tries) == 1:
            await collide()
        return "done"

    assert await Work().run(again(unit), seconds=5) == "done"
