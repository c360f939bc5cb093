"""What every reading must keep, whoever sent what."""

from __future__ import annotations

import re
from datetime import UTC

from rollback.adapters.alert_sources.moments import EARLIEST, LATEST
from rollback.adapters.alert_sources.untrusted import MAX_TAG, MAX_TAGS, MAX_TEXT, MAX_WORD
from rollback.core.alerts import Alert, Reading, ReadingKind

KEY = re.compile(r"(?:(?:test:)?content|body):[0-9a-f]{64}")


def check(reading: Reading, source: str) -> None:
    """Raises AssertionError when the reading breaks a promise of `Reading` or `Alert`."""
    assert KEY.fullmatch(reading.key)
    assert reading.key.startswith("body:") == (reading.kind is ReadingKind.UNKNOWN)
    assert reading.key.startswith("test:") == (reading.kind is ReadingKind.TEST)
    assert bool(reading.alerts) == (reading.kind is ReadingKind.ALERTS)
    if reading.kind is ReadingKind.ALERTS:
        assert reading.why == ""
    else:
        assert re.fullmatch(r"[A-Z][ -~]{5,200}\.", reading.why)
    for alert in reading.alerts:
        _check_alert(alert, source)


def _check_alert(alert: Alert, source: str) -> None:
    assert alert.source == source
    assert 1 <= len(alert.monitor) <= 200
    assert 1 <= len(alert.cycle) <= 240
    assert len(alert.priority) <= MAX_WORD
    assert len(alert.title) <= MAX_TEXT
    assert len(alert.link) <= MAX_TEXT
    assert not alert.link or alert.link.lower().startswith(("https://", "http://"))
    assert len(alert.tags) <= MAX_TAGS
    assert list(alert.tags) == sorted(set(alert.tags))
    assert all(0 < len(tag) <= MAX_TAG for tag in alert.tags)
    for text in (alert.monitor, alert.cycle, alert.priority, alert.title, alert.link, *alert.tags):
        assert text == text.strip()
        assert not any(
            ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or 0xD800 <= ord(letter) < 0xE000 for letter in text
        )
    if alert.occurred_at is not None:
        assert alert.occurred_at.tzinfo is UTC
        assert EARLIEST <= alert.occurred_at <= LATEST
