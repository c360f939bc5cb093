"""Stored answers in the state database: they outlive the program, and old ones go."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.idempotency.port import KEEP, KeyInProgress, StoredAnswer
from rollback.adapters.idempotency.sqlite import SqliteIdempotency
from rollback.errors import HistoryUnwritable
from tests.inboxes.databases import held_by_another_process

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DONE = StoredAnswer(200, b"{}")


def rows(answers: SqliteIdempotency) -> int:
    query = "SELECT count(*) FROM answers"
    return int(answers.database.read(lambda connection: connection.execute(query).fetchone())[0])


def test_answers_outlive_the_program_and_others_know_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteIdempotency(path)) as first, closing(SqliteIdempotency(path)) as second:
        assert first.begin("k1", "on-call", "d1", NOON) is None
        with pytest.raises(KeyInProgress):
            second.begin("k1", "on-call", "d1", NOON)
        first.finish("k1", "on-call", DONE)
        assert second.begin("k1", "on-call", "d1", NOON) == DONE
    with closing(SqliteIdempotency(path)) as again:
        assert again.begin("k1", "on-call", "d1", NOON) == DONE


def test_old_answers_are_removed_when_a_new_request_begins(tmp_path: Path) -> None:
    with closing(SqliteIdempotency(tmp_path / "state.db")) as answers:
        for number in range(5):
            answers.begin(f"k{number}", "on-call", "d", NOON + number * timedelta(hours=1))
            answers.finish(f"k{number}", "on-call", DONE)
        assert rows(answers) == 5
        answers.begin("new", "on-call", "d", NOON + KEEP + timedelta(hours=2))
        assert rows(answers) == 3


def test_a_lock_is_said_and_nothing_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(SqliteIdempotency(path, lock_timeout=0.05)) as answers:
        answers.begin("k0", "on-call", "d1", NOON)
        with held_by_another_process(path), pytest.raises(HistoryUnwritable, match="locked"):
            answers.begin("k1", "on-call", "d1", NOON)
        assert answers.begin("k1", "on-call", "d1", NOON) is None
