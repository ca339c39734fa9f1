"""The other end of the wire for these tests: a WeChat made of a few lines, and real sockets."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from wechat import sign
from wechat.client import HOST, Client, Exchange
from wechat.keys import Merchant
from wechat.trust import Trust

NOW = 1_790_000_000.0
KEY_ID = "PUB_KEY_ID_0000000000000000000000000000000001"
APIV3_KEY = b"0123456789abcdefghijklmnopqrstuv"
VECTORS = {
    vector["id"]: vector
    for vector in json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))["vectors"]
}


@dataclass
class World:
    """A merchant, a WeChat with its keys, and a clock that a test may turn."""

    merchant: Merchant
    wechat_key: rsa.RSAPrivateKey
    other_key: rsa.RSAPrivateKey
    now: float = NOW
    exchanges: list[Exchange] = field(default_factory=list)

    def signed(
        self,
        body: bytes,
        *,
        serial: str = KEY_ID,
        key: rsa.RSAPrivateKey | None = None,
        age: float = 0,
        **changed: str | None,
    ) -> dict[str, str]:
        """Return the headers of a message of WeChat; `changed` replaces or (None) drops some."""
        timestamp = str(int(self.now - age))
        nonce = "593BEC0C930BF1AFEB40B4A08C8FB242"
        message = sign.response_message(timestamp, nonce, body)
        headers: dict[str, str | None] = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": serial,
            "Wechatpay-Signature": sign.sign(key or self.wechat_key, message),
            "Wechatpay-Signature-Type": sign.SCHEME,
            "Request-ID": "08F78BA-0",
        }
        for name, value in changed.items():
            headers[f"Wechatpay-{name.title().replace('_', '-')}"] = value
        return {name: value for name, value in headers.items() if value is not None}

    def answer(self, content: Any, status: int = 200, **options: Any) -> httpx.Response:
        """Return an answer as WeChat sends it: 2xx are signed, everything else is not."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = self.signed(body, **options) if 200 <= status < 300 else {"Request-ID": "0-268"}
        return httpx.Response(status, headers=headers, content=body)

    def trust(self, *certificates: x509.Certificate, public_key: bool = True) -> Trust:
        keys = {KEY_ID: self.wechat_key.public_key()} if public_key else {}
        return Trust(APIV3_KEY, public_keys=keys, certificates=certificates)

    def client(
        self,
        handler: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]],
        *,
        trust: Trust | None = None,
        standby: str | None = None,
        host: str = HOST,
    ) -> Client:
        """Return a Client whose network is `handler`."""
        return Client(
            httpx.AsyncClient(transport=httpx.MockTransport(handler)),  # type: ignore[arg-type]
            self.merchant,
            trust or self.trust(),
            host=host,
            standby=standby,
            now=lambda: self.now,
            on_exchange=self.exchanges.append,
        )

    def certificate(
        self, number: int, *, valid: tuple[int, int] = (2020, 2040), key: Any = None
    ) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .serial_number(number)
            .public_key((key or self.wechat_key).public_key())
            .not_valid_before(datetime(valid[0], 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(valid[1], 1, 1, tzinfo=UTC))
            .sign(self.other_key, hashes.SHA256())
        )

    def sealed(self, text: bytes, *, key: bytes = APIV3_KEY, extra: str = "x") -> dict[str, str]:
        cipher = AESGCM(key).encrypt(b"123456789012", text, extra.encode())
        return {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": "123456789012",
            "associated_data": extra,
            "ciphertext": base64.b64encode(cipher).decode(),
        }

    def certificates(self, *certificates: x509.Certificate) -> dict[str, Any]:
        """Return the content of a /v3/certificates answer."""
        pems = [certificate.public_bytes(Encoding.PEM) for certificate in certificates]
        return {"data": [{"encrypt_certificate": self.sealed(pem)} for pem in pems]}


@pytest.fixture(scope="session")
def rsa_keys() -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(65537, 2048) for _ in range(3)]


@pytest.fixture
def world(rsa_keys: list[rsa.RSAPrivateKey]) -> World:
    own, wechat, other = rsa_keys
    return World(Merchant("1900007291", "4" * 40, own, APIV3_KEY), wechat, other)


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return VECTORS


@pytest.fixture
def serve() -> Callable[[bytes | None], Any]:
    """Serve one raw answer (None: hang up without a word) on a real port, and keep the requests."""

    @asynccontextmanager
    async def running(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
        requests: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests
        finally:
            server.close()
            await server.wait_closed()

    return running
