"""The contract of `Idempotency`, passed by the one in the state database and by the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback.adapters.idempotency.memory import MemoryIdempotency
from rollback.adapters.idempotency.port import KEEP, LEASE, Idempotency, KeyInProgress, KeyReused, StoredAnswer
from rollback.adapters.idempotency.sqlite import SqliteIdempotency
from rollback.errors import ConfigurationError

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DONE = StoredAnswer(202, b'{"state": "disabled"}\xff\0')


@pytest.fixture(params=["memory", "sqlite"])
def answers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Idempotency]:
    made = MemoryIdempotency() if request.param == "memory" else SqliteIdempotency(tmp_path / "state.db")
    yield made
    made.close()
    made.close()


def test_the_same_request_gets_the_same_answer_and_is_done_once(answers: Idempotency) -> None:
    assert answers.begin("k1", "on-call", "d1", NOON) is None
    answers.finish("k1", "on-call", DONE)
    assert answers.begin("k1", "on-call", "d1", NOON + SECOND) == DONE
    assert answers.begin("k1", "on-call", "d1", NOON + KEEP - SECOND) == DONE
    assert answers.begin("k2", "on-call", "d1", NOON) is None


def test_a_failure_is_an_answer_too(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    answers.finish("k1", "on-call", StoredAnswer(500, b""))
    assert answers.begin("k1", "on-call", "d1", NOON) == StoredAnswer(500, b"")


def test_the_first_answer_stays(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    answers.finish("k1", "on-call", DONE)
    answers.finish("k1", "on-call", StoredAnswer(500, b""))
    answers.abandon("k1", "on-call")
    assert answers.begin("k1", "on-call", "d1", NOON) == DONE


def test_another_request_with_the_same_key_is_refused_done_or_not(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    with pytest.raises(KeyReused) as caught:
        answers.begin("k1", "on-call", "d2", NOON + LEASE)
    assert "key of its own" in caught.value.next
    answers.finish("k1", "on-call", DONE)
    with pytest.raises(KeyReused):
        answers.begin("k1", "on-call", "d2", NOON)
    assert answers.begin("k1", "on-call", "d1", NOON) == DONE


def test_while_it_is_being_worked_on_the_same_request_is_refused(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    for at in (NOON, NOON - SECOND, NOON + LEASE - SECOND):
        with pytest.raises(KeyInProgress, match="being worked on"):
            answers.begin("k1", "on-call", "d1", at)
    answers.finish("k1", "on-call", DONE)
    assert answers.begin("k1", "on-call", "d1", NOON) == DONE


def test_a_request_whose_process_died_can_be_sent_again(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    assert answers.begin("k1", "on-call", "d1", NOON + LEASE) is None
    with pytest.raises(KeyInProgress):
        answers.begin("k1", "on-call", "d1", NOON + LEASE + SECOND)


def test_a_request_that_was_refused_before_anything_was_done_leaves_its_key_free(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    answers.abandon("k1", "on-call")
    answers.abandon("k1", "on-call")
    assert answers.begin("k1", "on-call", "d2", NOON) is None


def test_nobody_gets_anothers_answer_and_nobody_blocks_anothers_key(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    answers.finish("k1", "on-call", DONE)
    assert answers.begin("k1", "pipeline", "d1", NOON) is None
    assert answers.begin("k1", "pip\0\ud83d", "d2", NOON) is None
    answers.abandon("k1", "pipeline")
    assert answers.begin("k1", "on-call", "d1", NOON) == DONE


def test_after_a_day_the_key_begins_a_new_request(answers: Idempotency) -> None:
    answers.begin("k1", "on-call", "d1", NOON)
    answers.finish("k1", "on-call", DONE)
    answers.begin("k2", "on-call", "d1", NOON)
    assert answers.begin("k1", "on-call", "d2", NOON + KEEP) is None
    assert answers.begin("k2", "on-call", "d2", NOON + KEEP) is None


def test_an_answer_without_a_request_is_kept_for_nobody(answers: Idempotency) -> None:
    answers.finish("k1", "on-call", DONE)
    assert answers.begin("k1", "on-call", "d1", NOON) is None


@pytest.mark.parametrize("key", ["", "a b", "é", "a\n", "x" * 256, "\0", "\ud83d"])
def test_what_is_no_key_is_refused_without_repeating_it(answers: Idempotency, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        answers.begin(key, "on-call", "d1", NOON)
    assert caught.value.message == "an idempotency key must have 1 to 255 visible ASCII characters"


def test_the_longest_key_is_one(answers: Idempotency) -> None:
    assert answers.begin("~" * 255, "on-call", "d1", NOON) is None


def test_of_many_threads_with_the_same_request_one_does_it(answers: Idempotency) -> None:
    def begin(_: int) -> bool:
        try:
            return answers.begin("k1", "on-call", "d1", NOON) is None
        except KeyInProgress:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(begin, range(24))) == 1
