"""Read a notification 通知: verify the raw bytes, then parse, then decrypt.

Follows pay.weixin.qq.com/doc/v3/merchant/4012071382. Answer 200 or 204 within 5 s once the outcome
is stored, 4xx or 5xx otherwise; WeChat then sends it again, for about 24 hours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import fields
from .cipher import open_resource
from .client import Client
from .errors import MalformedAnswer
from .payment import Transaction


@dataclass(frozen=True)
class Envelope:
    """The readable part of a notification; `original_type` tells what is sealed in `resource`.

    Never route on event_type: profit sharing also arrives as TRANSACTION.SUCCESS.
    """

    id: str
    event_type: str
    original_type: str
    summary: str
    create_time: datetime | None
    resource: dict[str, Any] = field(repr=False)


async def verify(client: Client, headers: Mapping[str, str], body: bytes) -> None:
    """Prove that WeChat signed the raw body just now; raise SignatureInvalid with its reason.

    May download certificates once when the serial is new. Call it before everything else.
    """
    await client.verify(headers, body)


def parse(body: bytes) -> Envelope:
    """Read the envelope; raise MalformedAnswer naming the field."""
    data = fields.json_object("body", body)
    resource = fields.group(data, "resource")
    return Envelope(
        id=fields.string(data, "id"),
        event_type=fields.string(data, "event_type"),
        original_type=fields.string(resource, "original_type"),
        summary=fields.optional(data, "summary") or "",
        create_time=fields.time(data, "create_time"),
        resource=resource,
    )


def open_payment(apiv3_key: bytes, envelope: Envelope) -> Transaction:
    """Decrypt a payment; raise DecryptFailed, or MalformedAnswer when it is something else."""
    if envelope.original_type != "transaction":
        raise MalformedAnswer("resource.original_type", f"{envelope.original_type} is no payment")
    data = fields.json_object("resource", open_resource(apiv3_key, envelope.resource))
    if "combine_mchid" in data:
        raise MalformedAnswer("combine_mchid", "a combined payment: see combine.open_combined")
    return Transaction.parse(data)
