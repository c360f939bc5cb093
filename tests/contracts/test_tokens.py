"""The contract of `Tokens`, passed by those in the state database and by the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.adapters.tokens.memory import MemoryTokens
from rollback.adapters.tokens.rules import ROLES
from rollback.adapters.tokens.sqlite import SqliteTokens
from rollback.alert_ports import TokenHolder, Tokens
from rollback.errors import ConfigurationError

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(params=["memory", "sqlite"])
def tokens(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tokens]:
    made = MemoryTokens() if request.param == "memory" else SqliteTokens(tmp_path / "state.db")
    yield made
    made.close()
    made.close()


def test_a_secret_tells_its_holder_and_nothing_else_does(tokens: Tokens) -> None:
    first = tokens.issue("pipeline", "ci", None, NOON)
    second = tokens.issue("on-call", "responder", NOON + HOUR, NOON)
    assert tokens.holder(first, NOON) == TokenHolder("pipeline", "ci")
    assert tokens.holder(second, NOON) == TokenHolder("on-call", "responder", NOON + HOUR)
    flipped = first[:-1] + ("A" if first[-1] != "A" else "B")
    for wrong in ("", "rb_", flipped, first + "A", first[:-1], first[3:], f" {first}", f"{first}\n", first.upper()):
        assert tokens.holder(wrong, NOON) is None


def test_secrets_are_long_random_and_known_by_their_beginning(tokens: Tokens) -> None:
    secrets = [tokens.issue(f"t{number}", "viewer", None, NOON) for number in range(20)]
    assert len(set(secrets)) == 20
    assert all(secret.startswith("rb_") and len(secret) == 46 for secret in secrets)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=60) | st.from_regex(r"rb_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_other_text_is_a_secret_and_none_is_an_error(tokens: Tokens, text: str) -> None:
    assert tokens.holder(text, NOON) is None


def test_a_revoked_token_never_comes_back(tokens: Tokens) -> None:
    old = tokens.issue("pipeline", "ci", None, NOON)
    assert tokens.revoke("pipeline", NOON + SECOND)
    assert not tokens.revoke("pipeline", NOON + SECOND)
    assert not tokens.revoke("nobody", NOON)
    assert tokens.holder(old, NOON) is None
    new = tokens.issue("pipeline", "viewer", None, NOON + HOUR)
    assert tokens.holder(old, NOON + HOUR) is None
    assert tokens.holder(new, NOON + HOUR) == TokenHolder("pipeline", "viewer")


def test_an_expired_token_never_comes_back_though_the_clock_is_set_back(tokens: Tokens) -> None:
    secret = tokens.issue("on-call", "responder", NOON + HOUR, NOON)
    assert tokens.holder(secret, NOON + HOUR - SECOND) is not None
    assert tokens.holder(secret, NOON + HOUR) is None
    assert tokens.holder(secret, NOON) is None
    assert [holder.name for holder, _, _ in tokens.all()] == ["on-call"]  # so that people see that it has to be renewed


def test_a_name_is_taken_while_its_token_works_and_free_afterwards(tokens: Tokens) -> None:
    first = tokens.issue("on-call", "responder", NOON + HOUR, NOON)
    with pytest.raises(ConfigurationError, match="on-call already") as caught:
        tokens.issue("on-call", "viewer", None, NOON + HOUR - SECOND)
    assert "revoke on-call" in caught.value.next
    assert tokens.holder(first, NOON) == TokenHolder("on-call", "responder", NOON + HOUR)
    second = tokens.issue("on-call", "responder", NOON + 2 * HOUR, NOON + HOUR)
    assert tokens.holder(first, NOON) is None
    assert tokens.holder(second, NOON + HOUR) is not None
    assert len(tokens.all()) == 1


@pytest.mark.parametrize("role", ["", "admin", "Viewer", "viewer "])
def test_an_unknown_role_is_refused_with_the_known_ones(tokens: Tokens, role: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown") as caught:
        tokens.issue("pipeline", role, None, NOON)
    assert all(known in caught.value.next for known in ROLES)
    assert tokens.all() == []


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "x" * 65, "a\n", "\ud83d", "a/b"])
def test_a_name_that_could_not_stand_in_a_log_is_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        tokens.issue(name, "viewer", None, NOON)
    assert tokens.all() == []


@pytest.mark.parametrize("end", [NOON, NOON - HOUR, datetime(2030, 1, 1)])  # noqa: DTZ001
def test_an_end_that_is_over_or_has_no_offset_is_refused(tokens: Tokens, end: datetime) -> None:
    with pytest.raises(ConfigurationError, match="end"):
        tokens.issue("pipeline", "ci", end, NOON)


def test_the_list_tells_who_has_one_since_when_and_when_it_was_last_used(tokens: Tokens) -> None:
    secret = tokens.issue("pipeline", "ci", None, NOON)
    tokens.issue("on-call", "responder", NOON + HOUR, NOON + SECOND)
    tokens.issue("gone", "viewer", None, NOON)
    tokens.revoke("gone", NOON)
    tokens.holder(secret, NOON + HOUR)
    assert tokens.all() == [
        (TokenHolder("on-call", "responder", NOON + HOUR), NOON + SECOND, None),
        (TokenHolder("pipeline", "ci"), NOON, NOON + HOUR),
    ]
    assert secret not in repr(tokens.all())


def test_a_use_is_kept_once_a_minute_at_most(tokens: Tokens) -> None:
    secret = tokens.issue("pipeline", "ci", None, NOON)

    def used_at(seconds: int) -> datetime | None:
        assert tokens.holder(secret, NOON + seconds * SECOND) is not None
        return tokens.all()[0][2]

    assert [used_at(seconds) for seconds in (0, 30, 59, 60, 61, 10)] == [NOON] * 3 + [NOON + 60 * SECOND] * 3
