"""The doctor's measures: the clock, and the merchant's certificate beside its key."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from checkout.config import Env
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sandbox.testing import serve
from sanic import HTTPResponse, Request, Sanic

from shop import doctor


class Watch:
    """A server whose clock is wrong by `skew` seconds, or that has none."""

    def __init__(self) -> None:
        self.skew: float | None = 0

    async def answer(self, _: Request) -> HTTPResponse:
        date = {} if self.skew is None else {"Date": formatdate(time.time() + self.skew)}
        return HTTPResponse(headers=date)


@pytest.fixture
async def watch() -> AsyncIterator[tuple[Watch, httpx.AsyncClient, str]]:
    watch = Watch()
    app = Sanic(f"watch-{time.monotonic_ns()}", configure_logging=False)
    app.config.TOUCHUP = False
    app.add_route(watch.answer, "/", methods=["HEAD"])
    async with serve(app) as url, httpx.AsyncClient(trust_env=False) as http:
        yield watch, http, url


@pytest.mark.parametrize(
    ("skew", "ok"), [(0, True), (58, True), (-58, True), (63, False), (-400, False), (None, True)]
)
async def test_a_clock_that_drifts_more_than_a_minute_is_wrong(
    watch: tuple[Watch, httpx.AsyncClient, str], skew: float | None, ok: bool
) -> None:
    server, http, url = watch
    server.skew = skew
    finding = await doctor.clock_skew(http, url)
    assert finding.ok == ok
    assert ok or "NTP" in finding.advice


async def test_a_host_that_does_not_answer_is_named(
    watch: tuple[Watch, httpx.AsyncClient, str],
) -> None:
    finding = await doctor.clock_skew(watch[1], "http://127.0.0.1:1")
    assert not finding.ok
    assert "http://127.0.0.1:1" in finding.what


def put(folder: Path, *, days: int, pair: bool = True, serial: int = 0) -> Env:
    """Write a key and a certificate side by side; return settings that name the key."""
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "1900000001")])
    ends = datetime.now(UTC) + timedelta(days=days, hours=1)
    builder = x509.CertificateBuilder(name, name, (key if pair else other).public_key())
    builder = builder.serial_number(0xABCDEF).not_valid_after(ends)
    builder = builder.not_valid_before(ends - timedelta(days=3650))
    pem = serialization.Encoding.PEM
    (folder / "apiclient_cert.pem").write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(pem)
    )
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "apiclient_key.pem").write_bytes(key.private_bytes(pem, *private))
    named = f"{serial or 0xABCDEF:040x}"
    path = str(folder / "apiclient_key.pem")
    return Env({"SHOP_MERCHANT_KEY": path, "SHOP_MERCHANT_SERIAL": named})


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ({"days": 400}, None),
        ({"days": 20}, "certificate holds 20 more days"),
        ({"days": -5}, "certificate holds -5 more days"),
        ({"days": 400, "pair": False}, "key and certificate belong together"),
        ({"days": 400, "serial": 7}, "SHOP_MERCHANT_SERIAL"),
    ],
)
def test_the_certificate_beside_the_key_is_examined(
    tmp_path: Path, case: dict[str, int], wrong: str | None
) -> None:
    examined = doctor.certificate(put(tmp_path, **case))
    assert [finding.what for finding in examined if not finding.ok] == ([wrong] if wrong else [])
    assert all(finding.advice for finding in examined if not finding.ok)


def test_a_certificate_that_is_none_is_said_so(tmp_path: Path) -> None:
    env = put(tmp_path, days=400)
    (tmp_path / "apiclient_cert.pem").write_text("nonsense")
    (finding,) = doctor.certificate(env)
    assert (finding.ok, finding.what) == (False, "apiclient_cert.pem")
    (tmp_path / "apiclient_cert.pem").unlink()
    assert doctor.certificate(env) == []


def test_a_name_that_nothing_reads_is_a_typing_error() -> None:
    env = Env({"SHOP_MCHID": "1", "SHOP_MCH_ID": "2", "PATH": "/bin"})
    env.get("SHOP_MCHID")
    assert [finding.what for finding in doctor.unread(env)] == ["SHOP_MCH_ID"]
