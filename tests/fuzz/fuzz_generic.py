"""Fuzzes the reading of the small format of our own."""

from __future__ import annotations

from rollback.adapters.alert_sources.generic import parse
from tests.fuzz.running import main, verdict_holds


def one_input(data: bytes) -> None:
    """Raises when the parser raises, or gives a reading that breaks a promise."""
    verdict_holds(parse, data)


if __name__ == "__main__":
    main(one_input)
