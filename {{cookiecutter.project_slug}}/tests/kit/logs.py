"""What the shop logged."""

import logging
from typing import Any

import pytest

from shop.log import LOGGERS


class Diary:
    """What the shop logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        for name in LOGGERS:
            caplog.set_level(logging.INFO, name)

    def fields(self, event: str) -> list[dict[str, Any]]:
        """Return the fields of every record of an event."""
        records = self.caplog.records
        return [r.fields for r in records if r.name in LOGGERS and r.message == event]

    @property
    def alarms(self) -> list[str]:
        """Return the alarms, in order."""
        records = [r for r in self.caplog.records if r.name in LOGGERS]
        return [r.message for r in records if getattr(r, "fields", {}).get("alarm")]
