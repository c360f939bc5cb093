"""`disable` over the interface: nothing but authorisation and the flag store delays or refuses it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.idempotency.memory import MemoryIdempotency
from rollback.adapters.idempotency.port import KeyInProgress, KeyReused, StoredAnswer
from rollback.adapters.tokens.memory import MemoryTokens
from rollback.alert_ports import TokenHolder
from rollback.errors import HistoryUnwritable
from tests.e2e.worlds import served, write_policies
from tests.server.api_world import ApiWorld, api_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path) as world:
        yield world


class Broken:
    """A store of answers that does not work; `how` is what happens."""

    def __init__(self, how: Exception | None = None) -> None:
        self.how = how
        self.released = threading.Event()

    def begin(self, key: str, actor: str, digest: str, at: datetime) -> StoredAnswer | None:  # noqa: ARG002
        self._fail()
        return None

    def finish(self, key: str, actor: str, answer: StoredAnswer) -> None:  # noqa: ARG002
        self._fail()

    def abandon(self, key: str, actor: str) -> None:  # noqa: ARG002
        self._fail()

    def close(self) -> None: ...

    def _fail(self) -> None:
        if self.how is not None:
            raise self.how
        self.released.wait(30)


class BrokenTokens(MemoryTokens):
    """Tokens that cannot be read any more once `fault` is set."""

    fault: Exception | None = None
    hangs: threading.Event | None = None

    def holder(self, secret: str, now: datetime) -> TokenHolder | None:
        if self.fault is not None:
            raise self.fault
        if self.hangs is not None:
            self.hangs.wait(30)
        return super().holder(secret, now)


def test_off_is_proven_and_told_as_the_command_line_tells_it(world: ApiWorld) -> None:
    assert served(world.world.flipt.url) > 0
    answer = world.post("/features/sm/disable", {"reason": "non-200s above 30 %"})
    told = answer.json()
    assert (answer.status_code, told["exit"], told["off_proven"], told["state"]) == (200, 0, True, "disabled")
    assert served(world.world.flipt.url) == 0
    assert told["world"]["store"].startswith("flipt ")


def test_a_body_is_not_needed(world: ApiWorld) -> None:
    answer = world.http.post("/api/v1/features/sm/disable", headers={"authorization": bearer(world)})
    assert answer.status_code == 200
    assert served(world.world.flipt.url) == 0


def bearer(world: ApiWorld, role: str = "responder") -> str:
    return f"Bearer {world.secrets[role]}"


def test_off_that_is_not_proven_yet_is_202_with_exit_5(world: ApiWorld) -> None:
    write_policies(world.world.folder / "policies", poll="30s", prove_within="60s")
    answer = world.post("/features/sm/disable", {"no_wait": True})
    told = answer.json()
    assert (answer.status_code, told["exit"], told["off_proven"]) == (202, 5, False)
    assert served(world.world.flipt.url) == 0


def test_a_flag_is_turned_off_without_any_policy(world: ApiWorld) -> None:
    answer = world.post("/flags/default/mhv/secure-messaging/disable")
    assert answer.json()["exposure"] == 0
    assert served(world.world.flipt.url) == 0
    assert world.post("/flags/default/mhv/nosuch/disable").status_code == 404
    assert world.post("/flags/no such/mhv/nosuch/disable").status_code == 404


def test_a_dry_run_writes_nothing(world: ApiWorld) -> None:
    told = world.post("/features/sm/disable", {"dry_run": True}).json()
    assert (told["dry_run"], told["exposure_after"]) == (True, 0)
    assert world.world.writes == 0


@pytest.mark.parametrize(
    "how", [HistoryUnwritable("full"), KeyReused("used"), KeyInProgress("under way"), RuntimeError("broken"), None]
)
def test_no_trouble_with_stored_answers_refuses_or_delays_off(tmp_path: Path, how: Exception | None) -> None:
    answers = Broken(how)
    with api_world(tmp_path, idempotency=answers) as world:
        try:
            answer = world.post("/features/sm/disable", headers={"idempotency-key": "k"})
            assert (answer.status_code, answer.json()["off_proven"]) == (200, True)
            assert served(world.world.flipt.url) == 0
            note = world.post("/features/sm/note", {"text": "t"}, headers={"idempotency-key": "k"}) if how else None
            assert note is None or note.status_code in (409, 500, 507), "what can wait is refused"
        finally:
            answers.released.set()


def test_off_goes_on_when_the_last_use_of_a_token_cannot_be_kept(world: ApiWorld) -> None:
    """The database is locked by somebody else for writing."""
    import sqlite3

    with sqlite3.connect(world.world.folder / "rollback.state.db") as other:
        other.execute("BEGIN IMMEDIATE")
        answer = world.post("/features/sm/disable", headers={"idempotency-key": "k"})
        other.rollback()
    other.close()
    assert answer.status_code == 200
    assert served(world.world.flipt.url) == 0


@pytest.mark.parametrize("fault", [HistoryUnwritable("gone"), OSError("gone"), None])
def test_tokens_that_cannot_be_read_say_how_to_turn_off_without_the_server(
    tmp_path: Path, fault: Exception | None
) -> None:
    tokens = BrokenTokens()
    secret = tokens.issue("somebody", "responder", None, datetime.now(UTC))
    with api_world(tmp_path, tokens=tokens) as world:
        tokens.fault, tokens.hangs = fault, None if fault else threading.Event()
        try:
            answer = world.post("/features/sm/disable", role=None, headers={"authorization": f"Bearer {secret}"})
        finally:
            tokens.fault = None
            if tokens.hangs:
                tokens.hangs.set()
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["exit"]) == (503, "tokens_unreadable", 6)
        assert "rollback disable" in problem["next"]
        assert world.world.writes == 0


def test_a_token_that_was_revoked_or_has_expired_turns_nothing_off(world: ApiWorld) -> None:
    now = datetime.now(UTC)
    soon = world.tokens.issue("soon-over", "responder", now + timedelta(milliseconds=1), now)
    assert world.tokens.revoke("a-responder", now)
    for secret in (world.secrets["responder"], soon, "rb_" + "x" * 43, "nonsense"):
        answer = world.post("/features/sm/disable", role=None, headers={"authorization": f"Bearer {secret}"})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert secret not in answer.text
    assert world.world.writes == 0


def test_wrong_tokens_lock_nobody_out(world: ApiWorld) -> None:
    for _ in range(200):
        assert world.get("/features/sm", role=None, headers={"authorization": "Bearer rb_wrong"}).status_code == 401
    assert world.post("/features/sm/disable").status_code == 200


@pytest.mark.slow
def test_twenty_disables_at_once_are_one_case_and_off(world: ApiWorld) -> None:
    """Each starts an engine for its proof, so the last proof takes long; the flag is off with the first."""
    write_policies(world.world.folder / "policies", prove_within="300s")
    world.http.timeout = 300.0

    def disable(_: int) -> tuple[int, str]:
        answer = world.post("/features/sm/disable", {"reason": "storm", "timeout": 240})
        return answer.status_code, answer.json().get("incident", answer.text)

    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(disable, range(20)))
    assert {status for status, _ in told} == {200}
    assert len({incident for _, incident in told}) == 1
    assert served(world.world.flipt.url) == 0
    incidents = world.get("/features/sm/incidents").json()["incidents"]
    assert [case["incident"] for case in incidents] == [told[0][1]]
    assert world.get("/verify").json()["ok"] is True


def test_a_disable_does_not_wait_for_those_who_read(world: ApiWorld) -> None:
    """Readers hold all their turns, in checks of the gate that go on for long."""
    write_policies(world.world.folder / "policies", soak="3s", prove_within="60s")
    world.world.mend()
    with ThreadPoolExecutor(8) as pool:
        checks = [pool.submit(world.get, "/features/sm/check", seconds="3") for _ in range(8)]
        answer = world.post("/features/sm/disable")
        assert answer.status_code == 200
        assert not all(check.done() for check in checks)
        assert served(world.world.flipt.url) == 0
        for check in checks:
            assert check.result().status_code in (200, 503)


# -- the same request again ----------------------------------------------------------------------------------------


def once_more(world: ApiWorld, key: str = "k-1", **body: Any) -> Any:
    return world.post("/features/sm/disable", body, headers={"idempotency-key": key})


def test_a_disable_that_is_sent_again_gets_its_answer_while_it_stands(world: ApiWorld) -> None:
    first = once_more(world)
    writes = world.world.writes
    again = once_more(world)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert world.world.writes == writes, "nothing was done a second time"


def test_a_stored_off_is_never_told_of_a_feature_that_is_back(world: ApiWorld) -> None:
    """The worst thing to say: the key is sent again when somebody has brought the feature back."""
    world.world.mend()
    first = once_more(world).json()
    world.post("/features/sm/undo", {"reason": "wrong one"}, headers={"accept": "application/x-ndjson"})
    assert served(world.world.flipt.url) > 0
    again = once_more(world)
    assert "idempotent-replayed" not in again.headers
    assert served(world.world.flipt.url) == 0
    assert again.json()["kill"] != first["kill"]


def test_another_disable_with_a_used_key_is_done_all_the_same(world: ApiWorld) -> None:
    world.post("/features/sm/note", {"text": "t"}, headers={"idempotency-key": "k-1"}).raise_for_status()
    answer = once_more(world, reason="other")
    assert (answer.status_code, served(world.world.flipt.url)) == (200, 0)


def test_a_key_that_is_none_is_refused_before_anything(world: ApiWorld) -> None:
    for key in ("x" * 256, "two words"):
        assert once_more(world, key).status_code == 400
    assert world.world.writes == 0


def test_keys_of_memory_and_of_the_database_behave_alike(tmp_path: Path) -> None:
    with api_world(tmp_path, idempotency=MemoryIdempotency()) as world:
        first = once_more(world)
        assert once_more(world).content == first.content
