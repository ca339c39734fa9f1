"""`python -m tests.chaos --seed 7 --orders 2000 --kills 200 [--database URL] [--instances 2] [--provider]`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from shop import database
from tests.chaos.fleet import Fleet
from tests.chaos.storm import say, storm


def main() -> int:
    """Let a storm happen; exit 1 and tell the seed when the books are wrong afterwards."""
    options = argparse.ArgumentParser(prog="python -m tests.chaos")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--orders", type=int, default=2000)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--instances", type=int, default=1)
    options.add_argument("--provider", action="store_true", help="as a service provider 服务商")
    options.add_argument("--database", default="", help="an empty one; a new SQLite file without")
    args = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    url = args.database or f"sqlite://{folder}/shop.db"
    fleet = Fleet(folder, url, args.instances, args.provider)
    wrong = asyncio.run(happen(fleet, args.seed, args.orders, args.kills))
    for line in wrong[:50]:
        say(line)
    what = f"{args.orders} orders, {fleet.kills} kills, {len(wrong)} wrong"
    print(f"seed {args.seed}: {what}; {folder}")
    return 1 if wrong else 0


async def happen(fleet: Fleet, seed: int, orders: int, kills: int) -> list[str]:
    """Migrate, open everything, let the storm happen, close everything."""
    await database.migrate(fleet.database_url)
    async with fleet:
        await database.connect(fleet.database_url)
        try:
            return await storm(fleet, seed=seed, orders=orders, kills=kills)
        finally:
            await database.close()


if __name__ == "__main__":
    sys.exit(main())
