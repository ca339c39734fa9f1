"""`python -m shop …`: each command is named like its file."""

import argparse
import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

from checkout.config import ConfigError
from checkout.database import Unreachable
from shop import database, log, settings

COMMANDS = {
    "serve": "take orders and payments 启动",
    "demo": "start a sandbox and the shop, pay, and show it 演示",
    "dev": "develop at the sandbox, start anew after each edit 本地开发",
    "migrate": "bring the database's schema up to date 建表",
    "bill": "compare the books of a day with WeChat's bill 对账",
    "sweep": "look again at everything unfinished 巡检",
    "doctor": "check the settings, and let WeChat check the keys 体检",
    "golive": "go through docs/going-live.md: done, open, or not to be seen 上线清单",
    "explain": "say what a code, a number or a message of WeChat's means 解释报错",
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
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    except ConfigError as error:
        print(error, file=sys.stderr)
        if args.command != "doctor":
            print("See .env.example; `python -m shop doctor` explains.", file=sys.stderr)
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
    each["demo"].add_argument("--host", default="127.0.0.1")
    each["demo"].add_argument("--once", action="store_true", help="stop after both payments")
    each["demo"].add_argument(
        "--full", action="store_true", help="show each signed string line by line, not cut"
    )
    for name in ("demo", "dev"):
        each[name].add_argument("--port", type=int, default=8000)
        each[name].add_argument("--sandbox-port", type=int, default=9000)
    each["doctor"].add_argument(
        "--prove", action="store_true", help="order and close one fen in each scene"
    )
    each["sweep"].add_argument("--once", action="store_true", help="one round, one JSON line")
    each["bill"].add_argument("--date", type=date.fromisoformat, required=True, help="2026-01-31")
    each["bill"].add_argument("--json", action="store_true", help="one JSON object")
    each["explain"].add_argument("words", nargs="+", metavar="CODE|NUMBER|MESSAGE")
    return top


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM; one process is one instance."""
    from shop.app import create_app

    app = create_app(sweep=not args.no_sweep)
    asyncio.run(database.reach(app.ctx.shop.settings.database_url))
    if why := _refused(args.host, args.port):
        print(f"cannot listen on {args.host}:{args.port}: {why}; --port --host", file=sys.stderr)
        return 1
    app.run(args.host, args.port, single_process=True, motd=False, access_log=False)
    return 0


def _refused(host: str, port: int) -> str:
    """Return why nobody can listen there, "" when one can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def demo(args: argparse.Namespace) -> int:
    """Show two payments."""
    from shop import demo as show

    return show.run(
        host=args.host,
        port=args.port,
        sandbox_port=args.sandbox_port,
        once=args.once,
        full=args.full,
    )


def dev(args: argparse.Namespace) -> int:
    """Serve at the sandbox until Ctrl-C."""
    from shop import dev as development

    return development.run(port=args.port, sandbox_port=args.sandbox_port)


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
    from shop.app import build

    shop = build(settings.environment())
    await database.ready(shop.settings.database_url)
    await shop.start()
    try:
        if once:
            print(json.dumps(await shop.checkout.sweep_once()))
        else:
            await shop.patrol()
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
    await database.ready(shop.settings.database_url)
    await shop.start()
    began = time.monotonic()
    listed: list[dict[str, Any]] = []
    differences = rows = foreign = 0
    try:
        for books in shop.checkout.channels.books().values():
            bill = Bill(books, day, shop.checkout.config.trade_prefix, shop.clock)
            async for line in bill.differences(partial(_progress, began)):
                differences += 1
                if as_json:
                    listed.append(line._asdict())
                else:
                    print(f"{line.kind:20} {line.number}  here {line.here}, there {line.there}")
            rows += bill.count.rows
            foreign += bill.count.foreign
    except ChannelError as error:
        why = "no bill yet" if isinstance(error, NoBillYet) else "the bill was not fetched"
        print(*filter(None, (f"{why}:", error.code, str(error))), file=sys.stderr)
        return 2
    finally:
        await shop.stop()
    _progress(began, rows)
    report: dict[str, Any] = {"date": str(day), "rows": rows, "foreign": foreign}
    if as_json:
        print(json.dumps({**report, "differences": listed}))
    else:
        print(f"{day}: {rows} rows, {foreign} foreign, {differences} differences")
    return 1 if differences else 0


def _progress(began: float, rows: int) -> None:
    a_second = rows / max(time.monotonic() - began, 0.001)
    print(f"{rows} rows compared, {a_second:.0f} a second", file=sys.stderr, flush=True)


def doctor(args: argparse.Namespace) -> int:
    """Print what is right and what is wrong; exit 1 when anything is."""
    from shop import doctor as examine

    logging.disable()  # the report alone
    findings = asyncio.run(examine.findings(settings.environment(), prove=args.prove))
    print(examine.report(findings))
    if not args.prove:
        print("Nothing was ordered 没有下单; --prove orders and closes one fen 下一分钱再关单")
    return 1 if any(finding.ok is False for finding in findings) else 0


def golive(_: argparse.Namespace) -> int:
    """Print each step of going live; exit 1 while one is open."""
    from shop import golive as checklist

    logging.disable()  # the report alone
    steps = checklist.states(asyncio.run(checklist.facts(settings.environment())))
    print(checklist.report(steps))
    return 1 if any(state is False for _, state in steps) else 0


def explain(args: argparse.Namespace) -> int:
    """Print what is known about an answer of WeChat's; exit 1 when nothing is."""
    from shop.explain import explain

    text, is_explained = explain(" ".join(args.words))
    print(text)
    return 0 if is_explained else 1


if __name__ == "__main__":
    sys.exit(main())
