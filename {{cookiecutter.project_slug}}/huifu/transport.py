"""Send one request, and read its answer up to a limit: what it unpacks to counts."""

import zlib
from collections.abc import Mapping

import httpx

from .errors import HuifuUnknown

TIMEOUT = httpx.Timeout(connect=5, read=12, write=10, pool=5)
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # it recognises which


async def fetch(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    most_bytes: int,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Return status and body.

    Raises HuifuUnknown for an answer that is too big or packed as nobody asked; httpx.HTTPError.
    """
    sent = {"Accept-Encoding": "identity", **(headers or {})}
    data = bytearray()
    async with http.stream(method, url, content=content, headers=sent, timeout=TIMEOUT) as answer:
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        async for piece in answer.stream:  # not aiter_bytes(): it unpacks without a limit
            data += piece
            if len(data) > most_bytes:
                raise HuifuUnknown("the answer is too big")
    encoding = answer.headers.get("Content-Encoding", "identity").lower()
    return answer.status_code, _unpacked(bytes(data), encoding, most_bytes)


def _unpacked(data: bytes, encoding: str, most_bytes: int) -> bytes:
    """Unpack what a proxy packed; a few KiB can unpack to gigabytes."""
    if encoding == "identity" or not data:
        return data
    if encoding not in ("gzip", "deflate"):
        raise HuifuUnknown("the answer is packed as nobody asked")
    try:
        unpacked = zlib.decompressobj(GZIP_OR_ZLIB).decompress(data, most_bytes + 1)
    except zlib.error as error:
        raise HuifuUnknown("the answer cannot be unpacked") from error
    if len(unpacked) > most_bytes:
        raise HuifuUnknown("the answer is too big")
    return unpacked
