"""How fast the shop starts payments and takes notifications, beside what most people would write.

`python -m tests.bench` from the template's folder. The peer is FastAPI, wechatpayv3 and Tortoise
with the same writes, and with fewer. Every measured app has the first core, everything else the
others; the apps take turns in short slices, so that a busy machine is busy for both. Numbers of
one machine say little: read the ratios.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import apps, credentials
from bench.load import Load, Result, request
from foreign import forging

DATABASES = ("sqlite", "postgres", "mysql")
CONNECTIONS = 32
IN_FLIGHT = 96
UPSTREAM_MS = 60
CORES = sorted(os.sched_getaffinity(0))
APP = {CORES[0]}
OTHERS = set(CORES[1:] or CORES)


@dataclass
class Cost:
    """What one kind of call cost an app, over all of its slices."""

    calls: int = 0
    errors: int = 0
    cpu_seconds: float = 0
    statements: int = 0
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return calls per second in the middle slice."""
        return statistics.median(self.rates)

    @property
    def cpu_ms(self) -> float:
        """Return milliseconds of CPU for each call, the sweep's included."""
        return self.cpu_seconds / self.calls * 1000

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latency in milliseconds."""
        return statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000


Costs = dict[tuple[str, str], Cost]  # by the app's name and the call


class Bench:
    """Measures apps against one WeChat."""

    def __init__(self, load: Load, keys: credentials.JSON, calls: int) -> None:
        self.costs: Costs = {}
        self._load = load
        self._keys = keys
        self._calls = calls

    def slice(self, app: apps.App, call: str, connections: int) -> None:
        """Place orders, start a payment for each, and notify of each; the last two are measured."""
        turns = range(self._calls)
        placed = self._load.send(app.ports, [app.place(n) for n in turns], connections)
        numbers = [json.loads(body)["order_no"] for body in placed.bodies]
        requests = [app.start(n, number) for n, number in enumerate(numbers)]
        started = self._measured(app, call, requests, connections)
        if connections != IN_FLIGHT:
            requests = [self._notification(app, json.loads(body)) for body in started.bodies]
            self._measured(app, "notification", requests, connections)

    def _notification(self, app: apps.App, started: credentials.JSON) -> bytes:
        number = started["out_trade_no"]
        trade = forging.payment(self._keys, self._keys["appid"], number, app.price_fen)
        body = forging.seal(self._keys, trade)
        headers = forging.sign(self._keys, body, int(time.time()))
        return request("POST", app.notify_path, headers, body)

    def _measured(
        self, app: apps.App, call: str, requests: Sequence[bytes], connections: int
    ) -> Result:
        cost = self.costs.setdefault((app.name, call), Cost())
        cpu_seconds = app.cpu_seconds()
        statements = app.statements()
        result = self._load.send(app.ports, requests, connections)
        cost.errors += sum(not 200 <= status < 300 for status in result.statuses)
        cost.cpu_seconds += app.cpu_seconds() - cpu_seconds
        cost.statements += app.statements() - statements
        cost.calls += len(requests)
        cost.rates.append(len(requests) / result.seconds)
        cost.latencies += result.latencies
        return result


def main() -> None:
    """Measure on each database, and print a table."""
    args = _arguments()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        keys = credentials.make()
        load = Load(OTHERS)
        stack.callback(load.close)
        wechat = stack.enter_context(apps.upstream(keys, OTHERS))
        print(HEAD)
        for kind in args.databases:
            if not args.alone:
                bench = Bench(load, keys, args.calls)
                with _everybody(keys, wechat, kind, folder) as measured:
                    _measure(bench, wechat, measured, args.rounds)
                _print(kind, bench.costs)
            setting = Setting(kind, keys, wechat, folder, load, args)
            if args.two:
                _compare_two(setting)
            if args.history:
                _compare_history(setting)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--rounds", type=int, default=5, help="slices of each app and call")
    parser.add_argument("--calls", type=int, default=300, help="calls in a slice")
    parser.add_argument("--two", action="store_true", help="two instances against one, too")
    parser.add_argument(
        "--history", type=int, default=0, metavar="N", help="N old orders against none, too"
    )
    parser.add_argument("--alone", action="store_true", help="only these, without the peer")
    return parser.parse_args()


@contextmanager
def _everybody(
    keys: credentials.JSON, wechat: str, kind: str, folder: Path
) -> Iterator[list[apps.App]]:
    """Run the shop and the peer, each on a database of this kind."""
    with ExitStack() as stack:
        own, other = (stack.enter_context(apps.database(kind, folder)) for _ in range(2))
        shop = stack.enter_context(apps.shop(keys, wechat, own, folder, [APP]))
        peer = stack.enter_context(apps.peer(keys, wechat, other, folder, APP))
        yield [shop, apps.Peer([peer], ""), apps.Peer([peer], "/fewer")]


def _measure(bench: Bench, wechat: str, measured: Sequence[apps.App], rounds: int) -> None:
    """Let the apps take turns; the first slice of each only warms it up."""
    late = f"start, {UPSTREAM_MS} ms"
    for app in measured:
        bench.slice(app, "start", CONNECTIONS)
    bench.costs.clear()
    for _ in range(rounds):
        for app in measured:
            bench.slice(app, "start", CONNECTIONS)
    apps.set_delay(wechat, UPSTREAM_MS)
    for _ in range(rounds):
        for app in measured:
            bench.slice(app, late, IN_FLIGHT)
    apps.set_delay(wechat, 0)


HEAD = (
    f"{'':32}{'shop':>8}{'peer':>8}{'ratio':>7}{'of fewer':>9}"
    f"{'p99 ms':>14}{'ratio':>7}{'CPU ms':>13}{'SQL':>11}"
)


def _print(kind: str, costs: Costs) -> None:
    for call in dict.fromkeys(call for _, call in costs):
        shop, peer, fewer = (costs[name, call] for name in ("shop", "peer", "fewer writes"))
        p99 = shop.percentile(99), peer.percentile(99)
        print(
            f"{f'{kind}: {call}':32}{shop.rate:8.0f}{peer.rate:8.0f}"
            f"{shop.rate / peer.rate:7.2f}{shop.rate / fewer.rate:9.2f}"
            f"{f'{p99[0]:.0f} / {p99[1]:.0f}':>14}{p99[0] / p99[1]:7.2f}"
            f"{f'{shop.cpu_ms:.2f} / {peer.cpu_ms:.2f}':>13}"
            f"{f'{shop.statements / shop.calls:.1f} / {peer.statements / peer.calls:.1f}':>11}",
            flush=True,
        )
        for cost, name in ((shop, "shop"), (peer, "peer"), (fewer, "fewer")):
            if cost.errors:
                print(f"  {name}: {cost.errors} of {cost.calls} calls failed", flush=True)


@dataclass(frozen=True)
class Setting:
    """What a comparison of the shop with itself needs."""

    kind: str
    keys: credentials.JSON
    wechat: str
    folder: Path
    load: Load
    args: argparse.Namespace


def _compare_two(setting: Setting) -> None:
    """Compare two instances, each on a core of its own, with one."""
    with _twins(setting, [APP, {CORES[-1]}], orders=0) as (first, second):
        costs = _alternate(setting, first, second, CONNECTIONS)
    for call in ("start", "notification"):
        rates = [costs[name, call].rate for name in ("other", "shop")]
        label = f"{setting.kind}: {call}, two instances : one"
        print(f"{label:48}{rates[0]:8.0f}{rates[1]:8.0f}{rates[0] / rates[1]:7.2f}", flush=True)


def _compare_history(setting: Setting) -> None:
    """Compare the latency with a history with that of an empty database, one call at a time."""
    orders = setting.args.history
    with _twins(setting, [APP], orders=orders) as (empty, full):
        costs = _alternate(setting, empty, full, connections=1)
    for call in ("start", "notification"):
        p50 = [costs[name, call].percentile(50) for name in ("other", "shop")]
        label = f"{setting.kind}: {call}, ms with {orders} orders : empty"
        print(f"{label:48}{p50[0]:8.1f}{p50[1]:8.1f}{p50[0] / p50[1]:7.2f}", flush=True)


@contextmanager
def _twins(
    setting: Setting, cores: Sequence[set[int]], orders: int
) -> Iterator[tuple[apps.App, apps.App]]:
    """Run the shop alone on an empty database, and another of these cores with these orders."""
    keys = setting.keys
    wechat = setting.wechat
    folder = setting.folder
    with ExitStack() as stack:
        url, other = (stack.enter_context(apps.database(setting.kind, folder)) for _ in range(2))
        shop = stack.enter_context(apps.shop(keys, wechat, url, folder, [APP]))
        twin = stack.enter_context(apps.shop(keys, wechat, other, folder, cores, orders))
        twin.name = "other"
        yield shop, twin


def _alternate(setting: Setting, first: apps.App, second: apps.App, connections: int) -> Costs:
    bench = Bench(setting.load, setting.keys, setting.args.calls)
    for app in (first, second):
        bench.slice(app, "start", connections)
    bench.costs.clear()
    for _ in range(setting.args.rounds):
        for app in (first, second):
            bench.slice(app, "start", connections)
    return bench.costs


if __name__ == "__main__":
    main()
