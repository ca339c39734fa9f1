"""Notifications of WeChat Pay APIv3 通知: proved, opened and answered, whatever they hold."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from shop import channels as ch
from shop.channels._merchant import House
from shop.channels._refunds import refund_trade
from wechat import errors, notify, refunds
from wechat.notify import Envelope


class NotificationVerbs(ABC):
    """What WeChat's channels share when something arrives."""

    house: House

    @abstractmethod
    def open(self, key: bytes, envelope: Envelope) -> Sequence[ch.Trade]:
        """Decrypt a payment of this channel's kind."""

    async def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Prove a notification 验签; its key is the notification id."""
        try:
            await notify.verify(self.house.client, headers, body)
        except errors.SignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        try:
            return notify.parse(body).id
        except errors.MalformedAnswer:
            return hashlib.sha256(body).hexdigest()

    def read(self, kind: str, body: bytes) -> Sequence[ch.Trade] | ch.RefundTrade | None:
        """Decrypt a proved notification; None when it is about another product."""
        problem: Exception = errors.DecryptFailed("no key")
        for client in self.house.clients:  # a refund is sealed for the merchant that gave it back
            try:
                return self._read(client.merchant.apiv3_key, body)
            except errors.DecryptFailed as error:
                problem = error
            except errors.MalformedAnswer as error:
                raise ch.Unreadable(str(error)) from error
        raise ch.Unreadable(str(problem)) from problem

    def _read(self, key: bytes, body: bytes) -> Sequence[ch.Trade] | ch.RefundTrade | None:
        envelope = notify.parse(body)
        if envelope.original_type == "refund":
            return refund_trade(refunds.open_refund(key, envelope))
        return self.open(key, envelope) if envelope.original_type == "transaction" else None

    def received(self, body: bytes) -> tuple[int, str, str]:
        """Say 204: nothing else is needed, anything but 200 and 204 counts as failed."""
        return 204, "application/json", ""

    def failed(self, message: str) -> tuple[str, str]:
        """Say FAIL, so that it comes again."""
        return "application/json", json.dumps({"code": "FAIL", "message": message})
