"""Certificates come and go: one download for everybody, and no good message lost meanwhile."""

import asyncio
import gc
from typing import Any

import httpx
import pytest

from wechat.errors import DecryptFailed, NotSent, OutcomeUnknown, Refused, SignatureInvalid

OLD = "1A" * 20
NEW = "2B" * 20
BODY = b'{"id":"1"}'


class Station:
    """Answer /v3/certificates with `serials`, when `gate` opens; count the downloads."""

    def __init__(self, world: Any, *serials: str) -> None:
        self.world = world
        self.serials = list(serials)
        self.signer = serials[0] if serials else OLD
        self.downloads = 0
        self.failure: httpx.Response | Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v3/certificates":
            answer = self.world.answer({"ok": 1}, serial=self.signer)
            assert isinstance(answer, httpx.Response)
            return answer
        self.downloads += 1
        await self.gate.wait()
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.failure is not None:
            return self.failure
        certificates = [self.world.certificate(int(serial, 16)) for serial in self.serials]
        answer = self.world.answer(self.world.certificates(*certificates), serial=self.serials[-1])
        assert isinstance(answer, httpx.Response)
        return answer


def without_key(world: Any, station: Station, *serials: str) -> Any:
    certificates = [world.certificate(int(serial, 16)) for serial in serials]
    return world.client(station, trust=world.trust(*certificates, public_key=False))


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_without_a_public_key_the_first_call_loads_the_certificates(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    assert await client.get("/v3/x") == {"ok": 1}
    assert await client.get("/v3/x") == {"ok": 1}
    assert station.downloads == 1
    assert client.trust.serial_for_requests == OLD


async def test_fifty_first_calls_share_one_download(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    assert await asyncio.gather(*(client.get("/v3/x") for _ in range(50))) == [{"ok": 1}] * 50
    assert station.downloads == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(404, json={"code": "RESOURCE_NOT_EXISTS", "message": "无可用的平台证书"}),
        httpx.Response(500, json={"code": "SYSTEM_ERROR"}),
        httpx.ReadTimeout("x"),
    ],
)
async def test_without_certificates_a_post_is_not_sent_and_its_404_is_not_ours(
    world: Any, failure: Any
) -> None:
    station = Station(world, OLD)
    station.failure = failure
    client = without_key(world, station)
    with pytest.raises(NotSent, match="nothing was sent") as caught:
        await client.post("/v3/x", b"{}")
    assert caught.value.__cause__ is not None
    station.failure = None
    assert await client.post("/v3/x", b"{}") == {"ok": 1}


async def test_fifty_unknown_serials_make_one_download(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station, OLD)
    station.gate.clear()
    unknown = [world.signed(BODY, serial=f"{number:040X}") for number in range(50)]
    checks = [asyncio.create_task(client.verify(headers, BODY)) for headers in unknown]
    await settled()
    assert station.downloads == 1
    await client.verify(world.signed(BODY, serial=OLD), BODY)  # a good one meanwhile
    station.gate.set()
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert {getattr(result, "reason", result) for result in results} == {"unknown_serial"}
    assert station.downloads == 1
    await client.verify(world.signed(BODY, serial=OLD), BODY)


async def test_a_rotated_certificate_is_fetched_and_believed(world: Any) -> None:
    station = Station(world, OLD, NEW)
    client = without_key(world, station, OLD)
    fresh = world.signed(BODY, serial=NEW)
    await asyncio.gather(*(client.verify(fresh, BODY) for _ in range(10)))
    assert station.downloads == 1
    assert set(client.trust.certificates) == {OLD, NEW}


async def test_an_answer_signed_by_a_new_certificate_is_believed_too(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    await client.get("/v3/x")
    station.serials = [OLD, NEW]
    station.signer = NEW
    assert await client.get("/v3/x") == {"ok": 1}
    assert station.downloads == 2


async def test_unknown_serials_download_at_most_once_per_minute(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station, OLD)
    for seconds, downloads in ((0, 1), (30, 1), (29, 1), (1, 2), (59, 2), (1, 3)):
        world.now += seconds
        with pytest.raises(SignatureInvalid):
            await client.verify(world.signed(BODY, serial="C" * 40), BODY)
        assert station.downloads == downloads


@pytest.mark.parametrize("serial", ["PUB_KEY_ID_9", "a" * 40, "A" * 39, "A" * 41, "G" * 40])
async def test_only_what_looks_like_a_certificate_serial_downloads(world: Any, serial: str) -> None:
    station = Station(world, OLD)
    client = without_key(world, station, OLD)
    with pytest.raises(SignatureInvalid) as caught:
        await client.verify(world.signed(BODY, serial=serial), BODY)
    assert caught.value.reason == "unknown_serial"
    assert station.downloads == 0


@pytest.mark.parametrize("name", ["timestamp", "nonce", "serial", "signature"])
async def test_a_message_without_a_header_downloads_nothing(world: Any, name: str) -> None:
    station = Station(world, OLD)
    client = without_key(world, station, OLD)
    with pytest.raises(SignatureInvalid) as caught:
        await client.verify(world.signed(BODY, **{name: None}), BODY)
    assert caught.value.reason == "missing_header"
    assert station.downloads == 0


async def test_with_a_public_key_nothing_is_downloaded_by_itself(world: Any) -> None:
    station = Station(world, OLD)
    client = world.client(station)
    station.signer = next(iter(client.trust.public_keys))
    for _ in range(3):
        await client.get("/v3/x")
        world.now += 86_400
    assert station.downloads == 0


async def test_in_the_migration_both_key_and_certificate_are_believed(world: Any) -> None:
    station = Station(world, OLD)
    client = world.client(station)
    await client.verify(world.signed(BODY, serial=OLD), BODY)
    await client.verify(world.signed(BODY), BODY)
    assert station.downloads == 1


async def test_after_a_failed_download_the_first_reason_is_told(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station, OLD)
    station.failure = httpx.Response(404, json={"code": "RESOURCE_NOT_EXISTS"})
    with pytest.raises(SignatureInvalid) as caught:
        await client.verify(world.signed(BODY, serial=NEW), BODY)
    assert caught.value.reason == "unknown_serial"
    await client.verify(world.signed(BODY, serial=OLD), BODY)


async def test_old_certificates_are_renewed_while_calls_go_on(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    await client.get("/v3/x")
    world.now += 12 * 3600
    await client.get("/v3/x")
    assert station.downloads == 1
    world.now += 1
    station.gate.clear()
    assert await client.get("/v3/x") == {"ok": 1}  # does not wait for the download
    await settled()
    assert station.downloads == 2
    station.serials = [OLD, NEW]
    station.gate.set()
    await settled()
    assert set(client.trust.certificates) == {OLD, NEW}


async def test_a_failed_renewal_is_tried_again_after_a_minute(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    await client.get("/v3/x")
    station.failure = httpx.ReadTimeout("x")
    world.now += 13 * 3600
    for seconds, downloads in ((0, 2), (60, 2), (1, 3)):
        world.now += seconds
        assert await client.get("/v3/x") == {"ok": 1}
        await settled()
        assert station.downloads == downloads
    assert "ReadTimeout" in str([exchange.error for exchange in world.exchanges])
    client._download = None
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_one_waiter_that_leaves_does_not_stop_the_others(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    station.gate.clear()
    leaver, stayer = (asyncio.create_task(client.get("/v3/x")) for _ in range(2))
    await settled()
    leaver.cancel()
    station.gate.set()
    assert await stayer == {"ok": 1}
    assert station.downloads == 1


async def test_refresh_tells_what_is_wrong(world: Any) -> None:
    station = Station(world, OLD)
    client = without_key(world, station)
    station.failure = httpx.Response(401, json={"code": "SIGN_ERROR", "message": "签名错误"})
    with pytest.raises(Refused, match="SIGN_ERROR"):
        await client.refresh_certificates()
    content = {"data": [{"encrypt_certificate": world.sealed(b"x", key=b"f" * 32)}]}
    station.failure = world.answer(content, serial=OLD)
    with pytest.raises(DecryptFailed, match="APIv3 key"):
        await client.refresh_certificates()
    certificates = world.certificates(world.certificate(int(OLD, 16)))
    station.failure = world.answer(certificates, serial=NEW)
    with pytest.raises(OutcomeUnknown, match="unknown_serial"):
        await client.refresh_certificates()
    assert client.trust.certificates == {}


SAYS_NO = b'{"code":"PARAM_ERROR","message":"x"}'


async def test_a_refusal_signed_by_a_new_certificate_is_believed_too(world: Any) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v3/certificates":
            return await station(request)
        headers = world.signed(SAYS_NO, serial=NEW)
        return httpx.Response(400, headers=headers, content=SAYS_NO)

    station = Station(world, OLD, NEW)
    client = world.client(
        answer, trust=world.trust(world.certificate(int(OLD, 16)), public_key=False)
    )
    with pytest.raises(Refused) as caught:
        await client.post("/v3/x", b"{}")
    assert caught.value.proved
    assert station.downloads == 1


async def test_a_signed_refusal_of_the_download_itself_is_told_at_once(world: Any) -> None:
    """Its certificate is what the download was to bring: verifying it would wait for itself."""
    station = Station(world)
    station.failure = httpx.Response(
        403, headers=world.signed(SAYS_NO, serial=NEW), content=SAYS_NO
    )
    client = without_key(world, station)
    async with asyncio.timeout(5):
        with pytest.raises(NotSent, match="PARAM_ERROR"):
            await client.post("/v3/x", b"{}")
    assert station.downloads == 1
