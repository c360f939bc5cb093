"""Asking for alerts: what cannot be kept holds nothing else back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from rollback.adapters.alert_pollers.memory import MemoryAlertPoller
from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.alert_ports import Kept, Notice
from rollback.core.alerts import Alert, Edge, Reading, ReadingKind
from rollback.polling import PollLoop
from tests.fakes.clock import NOON, FakeClock


class Answering(MemoryAlertPoller):
    """A poller with these readings."""

    def __init__(self, readings: list[Reading]) -> None:
        super().__init__("datadog")
        self.readings = readings

    def poll(self, now: datetime) -> list[Reading]:
        """The same each time."""
        assert now.tzinfo is not None
        return self.readings


@dataclass
class Heard:
    """What came of it."""

    accepted: list[Kept] = field(default_factory=list)
    told: list[Notice] = field(default_factory=list)


def reading(monitor: str, at: datetime) -> Reading:
    return Reading(ReadingKind.ALERTS, f"key-{monitor}", (Alert("datadog", monitor, "c1", Edge.FIRED, at),))


def test_a_reading_that_cannot_be_kept_is_kept_as_unknown_and_holds_no_other_back(tmp_path: Path) -> None:
    without_zone = NOON.replace(tzinfo=None)
    poller = Answering([reading("1", NOON), reading("2", without_zone), reading("3", NOON)])
    inbox, heard, clock = SqliteInbox(tmp_path / "state.db"), Heard(), FakeClock()
    loop = PollLoop(poller, timedelta(seconds=30), inbox, clock, heard.accepted.append, heard.told.append)
    assert loop.poll() == 30.0
    assert [kept.kind for kept in heard.accepted] == [ReadingKind.ALERTS, ReadingKind.UNKNOWN, ReadingKind.ALERTS]
    assert "could not be kept" in heard.accepted[1].why
    assert loop.poll() == 30.0
    assert len(heard.accepted) == 3, "each once, however often it is read"
    inbox.close()
