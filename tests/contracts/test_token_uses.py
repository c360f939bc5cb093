"""The contract of `TokenUses`, passed by the one in the state database and by the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.token_uses.memory import MemoryTokenUses
from rollback.adapters.token_uses.port import TokenUses
from rollback.adapters.token_uses.sqlite import SqliteTokenUses
from rollback.errors import HistoryUnwritable

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(minutes=5)
SECOND = timedelta(seconds=1)


@pytest.fixture(params=["memory", "sqlite"])
def uses(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TokenUses]:
    made = MemoryTokenUses() if request.param == "memory" else SqliteTokenUses(tmp_path / "state.db")
    yield made
    made.close()
    made.close()


def test_a_token_is_used_once_until_it_expires(uses: TokenUses) -> None:
    assert uses.use("https://i", "t1", LATER, NOON)
    assert not uses.use("https://i", "t1", LATER, NOON)
    assert not uses.use("https://i", "t1", LATER + SECOND, LATER - SECOND), "also under another end"
    assert uses.use("https://i", "t1", LATER + 2 * SECOND, LATER), "forgotten: whoever asks has refused it before"


def test_another_token_and_another_issuer_are_others(uses: TokenUses) -> None:
    assert uses.use("https://i", "t1", LATER, NOON)
    assert uses.use("https://i", "t2", LATER, NOON)
    assert uses.use("https://other", "t1", LATER, NOON)
    assert not uses.use("https://i", "t2", LATER, NOON)


def test_of_many_at_once_one_is_the_first(uses: TokenUses) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: uses.use("https://i", "t1", LATER, NOON), range(32)))
    assert found.count(True) == 1


def test_odd_identifiers_are_identifiers(uses: TokenUses) -> None:
    for text in ("", "\0", "é", "\ud800", "x" * 5000):
        assert uses.use("https://i", text, LATER, NOON)
        assert not uses.use("https://i", text, LATER, NOON)


def test_a_use_outlives_the_process_and_is_known_to_the_next(tmp_path: Path) -> None:
    first = SqliteTokenUses(tmp_path / "state.db")
    assert first.use("https://i", "t1", LATER, NOON)
    second = SqliteTokenUses(tmp_path / "state.db")
    assert not second.use("https://i", "t1", LATER, NOON)
    first.close()
    second.close()


def test_no_token_is_kept(tmp_path: Path) -> None:
    made = SqliteTokenUses(tmp_path / "state.db")
    made.use("https://issuer.example.org", "very-special-identifier", LATER, NOON)
    made.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"very-special-identifier" not in kept


def test_a_database_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    made = SqliteTokenUses(tmp_path / "no" / "folder" / "state.db")
    with pytest.raises(HistoryUnwritable):
        made.use("https://i", "t1", LATER, NOON)
    made.close()
