"""`python -m shop …`: each command is named like its file."""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

from checkout.config import ConfigError
from shop import database, log, settings

COMMANDS = {
    "serve": "take orders and payments 启动",
    "demo": "start a sandbox and the shop, pay, and show it 演示",
    "migrate": "bring the database's schema up to date 建表",
    "bill": "compare the books of a day with WeChat's bill 对账",
    "sweep": "look again at everything unfinished 巡检",
    "doctor": "check the settings, and let WeChat check the keys 体检",
}


def main() -> int:
    """Run one command; exit 2 when the settings are wrong, each named on a line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    args = parser().parse_args(sys.argv[1:] or ["--help"])
    log.configure()
    run: Callable[[argparse.Namespace], int] = globals()[args.command]
    try:
        return run(args)
    except ConfigError as error:
        print(f"{error}\nSee .env.example; `python -m shop doctor` explains.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="python -m shop")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    each = {name: commands.add_parser(name, help=text) for name, text in COMMANDS.items()}
    each["serve"].add_argument("--host", default="127.0.0.1")
    each["serve"].add_argument("--port", type=int, default=8000)
    each["serve"].add_argument("--no-sweep", action="store_true", help="another process sweeps")
    each["demo"].add_argument("--once", action="store_true", help="stop after both payments")
    each["demo"].add_argument("--port", type=int, default=8000)
    each["demo"].add_argument("--sandbox-port", type=int, default=9000)
    each["sweep"].add_argument("--once", action="store_true", help="one round, one JSON line")
    each["bill"].add_argument("--date", type=date.fromisoformat, required=True, help="2026-01-31")
    each["bill"].add_argument("--json", action="store_true", help="one JSON object")
    return top


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; one process is one instance."""
    from shop.app import create_app

    app = create_app(sweep=not args.no_sweep)
    app.run(args.host, args.port, single_process=True, motd=False, access_log=False)
    return 0


def demo(args: argparse.Namespace) -> int:
    """Show two payments."""
    from shop import demo as show

    return show.run(port=args.port, sandbox_port=args.sandbox_port, once=args.once)


def migrate(_: argparse.Namespace) -> int:
    """Apply the migrations."""
    url = settings.load(settings.environment()).database_url
    applied = asyncio.run(database.migrate(url))
    print("applied: " + ", ".join(applied) if applied else "the schema is up to date")
    return 0


def sweep(args: argparse.Namespace) -> int:
    """Sweep once, or every second until Ctrl-C."""
    return asyncio.run(_sweep(once=args.once))


async def _sweep(*, once: bool) -> int:
    from checkout.work import forever
    from shop.app import build

    shop = build(settings.environment())
    await shop.start()
    try:
        if once:
            print(json.dumps(await shop.checkout.sweep_once()))
        else:
            await forever(shop.patrol, pause=1)
    finally:
        await shop.stop()
    return 0


def bill(args: argparse.Namespace) -> int:
    """Compare; exit 0 when the books agree, 1 when they differ, 2 when there is no bill yet."""
    return asyncio.run(_bill(args.date, as_json=args.json))


async def _bill(day: date, *, as_json: bool) -> int:
    from checkout.bill import Bill
    from checkout.channels import ChannelError, NoBillYet
    from shop.app import build

    shop = build(settings.environment())
    await shop.start()
    differences, rows, foreign = [], 0, 0
    try:
        for books in shop.checkout.channels.books().values():
            bill = Bill(books, day, shop.checkout.config.trade_prefix, shop.clock)
            async for line in bill.differences(_progress):
                differences.append(line._asdict())
                if not as_json:
                    print(f"{line.kind:20} {line.number}  here {line.here}, there {line.there}")
            rows, foreign = rows + bill.count.rows, foreign + bill.count.foreign
    except ChannelError as error:
        why = "no bill yet" if isinstance(error, NoBillYet) else "the bill was not fetched"
        print(*filter(None, (f"{why}:", error.code, str(error))), file=sys.stderr)
        return 2
    finally:
        await shop.stop()
    report: dict[str, Any] = {"date": str(day), "rows": rows, "foreign": foreign}
    if as_json:
        print(json.dumps({**report, "differences": differences}))
    else:
        print(f"{day}: {rows} rows, {foreign} foreign, {len(differences)} differences")
    return 1 if differences else 0


def _progress(rows: int) -> None:
    print(f"{rows} rows compared", file=sys.stderr, flush=True)


def doctor(_: argparse.Namespace) -> int:
    """Print what is right and what is wrong; exit 1 when anything is."""
    from shop import doctor as examine

    findings = asyncio.run(examine.findings(settings.environment()))
    print(examine.report(findings))
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
