"""How fast the shop prepays and takes notifications, next to something that you can imagine.

Run `python -m tests.bench` from the template's folder; it takes half a minute and talks to loopback
only. Numbers of one machine say little, so each is also a share of what RSA alone allows and of
what a minimal FastAPI app does in the same run. The sandbox answers both; only the shop has a
database, and waits for its disk before WeChat is called and before WeChat is answered.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

sys.path.insert(0, str(Path(__file__).parent.parent))
import forging
from running import JSON, Buyer, Demo, answers, free_port, started, until

TEMPLATE = Path(__file__).resolve().parent.parent.parent
TIMES = 300  # requests of each kind
CONNECTIONS = 8
Send = Callable[[aiohttp.ClientSession, int], Awaitable[JSON]]


def main() -> None:
    """Bake a shop, start everything, measure, print."""
    with TemporaryDirectory() as folder:
        bake = ("cookiecutter", str(TEMPLATE), "--no-input", "--default-config", "-o", folder)
        subprocess.run([sys.executable, "-m", *bake], check=True, stdout=subprocess.DEVNULL)
        with started(Path(folder) / "my-shop") as demo, peer(demo) as other:
            rows = {"the shop": measure_shop(demo), "the minimal app": measure_peer(demo, other)}
            print_table(rows, rsa_ceiling(demo))


def measure_shop(demo: Demo) -> tuple[float, float]:
    """Return prepays and notifications per second, each with everything it writes down."""
    buyer = Buyer.of_miniprogram(demo)
    numbers = [buyer.order() for _ in range(TIMES)]
    form = {"scene": "miniprogram"}

    async def prepay(http: aiohttp.ClientSession, n: int) -> JSON:
        url = f"{demo.shop}/api/orders/{numbers[n]}/payments"
        return await post(http, url, json.dumps(form).encode(), buyer.headers, 201)

    seconds, answers = timed(prepay)
    return seconds, notify(demo, f"{demo.shop}/notify/wechat/payment", answers)


def measure_peer(demo: Demo, url: str) -> tuple[float, float]:
    """Return the same for the minimal app."""

    async def prepay(http: aiohttp.ClientSession, _: int) -> JSON:
        return await post(http, f"{url}/pay", b"{}", {}, 200)

    seconds, answers = timed(prepay)
    return seconds, notify(demo, f"{url}/notify", answers)


def notify(demo: Demo, url: str, started: list[JSON]) -> float:
    """Sign a notification for each payment beforehand, then send them all."""
    sent = []
    for payment in started:
        appid, number = payment["invoke"]["appId"], payment["out_trade_no"]
        body = forging.seal(demo.known, forging.payment(demo.known, appid, number, 9900))
        sent.append((body, forging.sign(demo.known, body, int(time.time()))))

    async def one(http: aiohttp.ClientSession, n: int) -> JSON:
        return await post(http, url, *sent[n], 204)

    return timed(one)[0]


def timed(send: Send) -> tuple[float, list[JSON]]:
    """Send TIMES requests over a few connections; return requests per second and the answers."""

    async def run() -> tuple[float, list[JSON]]:
        turns = iter(range(TIMES))
        answers: list[JSON] = []

        async def work(http: aiohttp.ClientSession) -> None:
            answers.extend([await send(http, n) for n in turns])

        async with aiohttp.ClientSession() as http:
            began = time.perf_counter()
            await asyncio.gather(*(work(http) for _ in range(CONNECTIONS)))
            return TIMES / (time.perf_counter() - began), answers

    return asyncio.run(run())


async def post(
    http: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str], status: int
) -> JSON:
    """Post bytes; any other answer stops the measurement."""
    headers = {"Content-Type": "application/json", **headers}
    async with http.post(url, data=body, headers=headers) as answer:
        content = await answer.read()
        assert answer.status == status, content
        said: JSON = json.loads(content or b"{}")
        return said


def rsa_ceiling(demo: Demo) -> float:
    """Return how many prepays RSA alone would allow on one core: two signatures and one check."""
    key = forging.private_key(demo.known["merchant_private_key_pem"])
    public, text = key.public_key(), b"x" * 500
    signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    began = time.perf_counter()
    for _ in range(TIMES):
        key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    return TIMES / (time.perf_counter() - began)


@contextmanager
def peer(demo: Demo) -> Iterator[str]:
    """Run the minimal app against the same sandbox."""
    port, (_, openid) = free_port(), demo.login_code()
    env = {
        "known": demo.known,
        "appid": demo.app("miniprogram")["appid"],
        "openid": openid,
        "sandbox": demo.sandbox,
        "port": port,
    }
    command = [sys.executable, str(Path(__file__).parent / "peer.py")]
    process = subprocess.Popen(command, env={**os.environ, "PEER": json.dumps(env)})
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(demo.http, f"{url}/healthz"), "the minimal app's first answer")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def print_table(rows: dict[str, tuple[float, float]], ceiling: float) -> None:
    """Print requests per second, as a share of the minimal app's, and of RSA's own speed."""
    most = rows["the minimal app"]
    print(f"{TIMES} requests of each kind over {CONNECTIONS} connections, per second")
    print(f"{'':<18}{'prepay':>8}{'of RSA':>8}{'of app':>8}{'notify':>10}{'of app':>8}")
    for name, (prepay, notified) in rows.items():
        print(f"{name:<18}{prepay:>8.0f}{prepay / ceiling:>8.0%}{prepay / most[0]:>8.0%}", end="")
        print(f"{notified:>10.0f}{notified / most[1]:>8.0%}")
    print(f"{'RSA on one core':<18}{ceiling:>8.0f}")


if __name__ == "__main__":
    main()
