"""Tokens in the state database: no secret in it, and nothing that happens to it refuses a holder without need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.inboxes.sqlite import SqliteInbox
from rollback.adapters.tokens.rules import digest_of
from rollback.adapters.tokens.sqlite import SqliteTokens
from rollback.alert_ports import TokenHolder
from rollback.errors import ConfigurationError, HistoryUnwritable
from tests.inboxes.databases import damage, held_by_another_process
from tests.inboxes.deliveries import a_delivery
from tests.inboxes.wal import commits
from tests.ledgers.disks import fill, small_disk

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PIPELINE = TokenHolder("pipeline", "ci")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollback.state.db"


@pytest.fixture
def tokens(path: Path) -> Iterator[SqliteTokens]:
    with closing(SqliteTokens(path, lock_timeout=0.05)) as opened:
        yield opened


def test_the_secret_is_nowhere_on_the_disk_and_its_hash_is(tokens: SqliteTokens, path: Path) -> None:
    secret = tokens.issue("pipeline", "ci", None, NOON)
    tokens.holder(secret, NOON)
    written = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert secret.encode() not in written
    assert secret.removeprefix("rb_").encode() not in written
    assert hashlib.sha256(secret.encode()).digest() in written


def test_what_cannot_be_a_secret_is_not_even_looked_up(tokens: SqliteTokens, path: Path) -> None:
    assert digest_of("rb_" + "a" * 42) is None
    assert tokens.holder("rb_" + "a" * 10_000_000, NOON) is None
    assert not path.exists()


def test_tokens_outlive_the_program_and_are_known_to_others_at_once(path: Path) -> None:
    with closing(SqliteTokens(path)) as issuer, closing(SqliteTokens(path)) as server:
        secret = issuer.issue("pipeline", "ci", NOON + HOUR, NOON)
        assert server.holder(secret, NOON) == TokenHolder("pipeline", "ci", NOON + HOUR)
        issuer.revoke("pipeline", NOON)
        assert server.holder(secret, NOON) is None
    with closing(SqliteTokens(path)) as again:
        assert again.holder(secret, NOON) is None
        assert again.all() == []


def test_a_lock_of_another_process_refuses_no_holder(tokens: SqliteTokens, path: Path) -> None:
    secret = tokens.issue("pipeline", "ci", None, NOON)
    with held_by_another_process(path):
        assert tokens.holder(secret, NOON) == PIPELINE
        with pytest.raises(HistoryUnwritable, match="locked"):
            tokens.revoke("pipeline", NOON)
    assert tokens.all() == [(PIPELINE, NOON, None)]
    assert tokens.holder(secret, NOON + HOUR) == PIPELINE
    assert tokens.all() == [(PIPELINE, NOON, NOON + HOUR)]


def test_a_full_disk_refuses_no_holder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk, closing(SqliteTokens(disk / "state.db")) as tokens:
        secret = tokens.issue("pipeline", "ci", None, NOON)
        with closing(SqliteInbox(disk / "state.db")) as inbox:
            fill(disk)

            def put_until_full() -> None:
                for number in range(500):
                    inbox.put([a_delivery(number, excerpt="x" * 4000)])

            with pytest.raises(HistoryUnwritable, match="disk is full"):
                put_until_full()
            for hours in range(1, 30):
                assert tokens.holder(secret, NOON + hours * HOUR) == PIPELINE
        tokens.close()


def test_looking_up_within_a_minute_writes_nothing(tokens: SqliteTokens, path: Path) -> None:
    secret = tokens.issue("pipeline", "ci", None, NOON)
    tokens.holder(secret, NOON)
    before = commits(path)
    for seconds in range(59):
        assert tokens.holder(secret, NOON + timedelta(seconds=seconds)) == PIPELINE
    assert commits(path) == before


def test_after_the_database_was_corrupt_every_old_token_is_refused_and_it_is_told(path: Path) -> None:
    with closing(SqliteTokens(path)) as tokens:
        secret = tokens.issue("pipeline", "ci", None, NOON)
    damage(path, "not a database")
    told: list[str] = []
    with closing(SqliteTokens(path, report=told.append)) as tokens:
        assert tokens.holder(secret, NOON) is None
        assert tokens.holder(tokens.issue("pipeline", "ci", None, NOON), NOON) == PIPELINE
    assert len(told) == 1
    assert "set aside" in told[0]


def test_a_database_that_cannot_be_read_is_said_and_is_not_a_wrong_secret(tmp_path: Path) -> None:
    place = tmp_path / "missing" / "state.db"
    with closing(SqliteTokens(place)) as tokens, pytest.raises(HistoryUnwritable) as caught:
        tokens.holder("rb_" + "a" * 43, NOON)
    assert "rb_" not in str(caught.value)


def test_of_many_threads_that_want_one_name_one_gets_it(tokens: SqliteTokens) -> None:
    def issue(_: int) -> str | None:
        try:
            return tokens.issue("pipeline", "ci", None, NOON)
        except ConfigurationError:
            return None

    with ThreadPoolExecutor(8) as threads:
        secrets = [secret for secret in threads.map(issue, range(16)) if secret is not None]
    assert len(secrets) == 1
    assert tokens.holder(secrets[0], NOON) == PIPELINE
