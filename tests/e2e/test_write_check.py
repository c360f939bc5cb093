"""The write check on a real flag server: the shadow flag as it was, the real one byte for byte, and never asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollback.adapters.flag_stores.flipt_auto import flipt_flag_store
from rollback.adapters.flipt_http import FliptHttp, Tls, TokenSource
from rollback.arming import ArmingLoop
from rollback.arming_checks import check_write
from rollback.clock import SystemClock
from rollback.core.arming import Check, CheckState
from rollback.core.policy import FeaturePolicy
from rollback.flag_reference import read_flag_reference
from rollback.history import History
from rollback.identity import actor
from rollback.kill_settings import KillSettings
from rollback.policy_files import load_policies
from rollback.sandbox import Fault, FliptServer
from rollback.session import Session
from rollback.silence import arming_loop, watchdog_loop
from tests.e2e.worlds import FEATURE, FLAG, NAMESPACE, USUAL, seed_of, seen_of, write_policies
from tests.sandbox.calls import threshold

SHADOW = "sm-shadow"
DARK = {
    "key": SHADOW,
    "name": "Shadow",
    "type": "BOOLEAN_FLAG_TYPE",
    "enabled": False,
    "description": "nobody reads this",
    "rollouts": [threshold(30, True, "left by somebody")],
}
SEED = seed_of(USUAL)
SEED["namespaces"][NAMESPACE]["flags"].append(DARK)


@contextmanager
def session_on(folder: Path, flipt: FliptServer, token: str | None = None) -> Iterator[tuple[Session, FeaturePolicy]]:
    """A session on this server, with a policy that names the shadow flag."""
    policies = write_policies(folder / "policies")
    file = policies / "features" / f"{FEATURE}.yaml"
    file.write_text(file.read_text() + f"shadow_flag: {SHADOW}\n")
    source = TokenSource.value(token) if token else TokenSource.none()
    store = flipt_flag_store(FliptHttp(flipt.url, source, Tls(), timeout=5.0), "auto", folder / "api")
    history = History(folder / "journal", f"sqlite:///{folder / 'rollback.db'}", lambda _: None)
    reference = read_flag_reference(str(policies), FEATURE, {})
    settings = KillSettings(policies=str(policies), flipt_url=flipt.url, state=str(folder / "state.db"))
    try:
        session = Session(settings, reference, store, history, SystemClock(), actor(None), lambda _: None)
        yield session, load_policies(policies, {}).feature(FEATURE).policy
    finally:
        store.close()


def bytes_of(flipt: FliptServer, key: str) -> bytes:
    """All that the server holds of a flag, with ids, ranks and times."""
    told = flipt.dump()
    spaces = told.get("namespaces") or told["environments"]["default"]["namespaces"]
    return json.dumps(next(flag for flag in spaces[NAMESPACE]["flags"] if flag["key"] == key)).encode()


def asked_for(flipt: FliptServer, key: str) -> int:
    return flipt.count(path=rf"/{key}(/|$)")


def checked(folder: Path, flipt: FliptServer, **options: Any) -> Check:
    with session_on(folder, flipt, **options) as (session, policy):
        return check_write(session, policy, needed=True)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_real_flag_is_the_same_to_the_byte_and_was_never_asked_for(tmp_path: Path, version: str) -> None:
    with FliptServer(version, seed=SEED) as flipt:
        real, shadow = bytes_of(flipt, FLAG), seen_of(flipt, SHADOW)
        check = checked(tmp_path, flipt)
        assert check.state is CheckState.OK, check.why
        assert bytes_of(flipt, FLAG) == real
        assert asked_for(flipt, FLAG) == 0
        assert asked_for(flipt, SHADOW) > 0
        assert seen_of(flipt, SHADOW) == shadow


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_store_that_takes_no_writes_has_failed_before_it_is_needed(tmp_path: Path, version: str) -> None:
    with FliptServer(version, seed=SEED, read_only=True) as flipt:
        shadow = bytes_of(flipt, SHADOW)
        check = checked(tmp_path, flipt)
        assert check.state is CheckState.FAILED
        assert bytes_of(flipt, SHADOW) == shadow


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_token_that_has_ended_is_found(tmp_path: Path, version: str) -> None:
    with FliptServer(version, seed=SEED, token="new") as flipt:
        check = checked(tmp_path, flipt, token="ended")
        assert check.state is CheckState.FAILED
        assert "ended" not in check.why


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_shadow_flag_that_is_not_there_says_what_to_create(tmp_path: Path, version: str) -> None:
    with FliptServer(version, seed=seed_of(USUAL)) as flipt:
        check = checked(tmp_path, flipt)
        assert check.state is CheckState.FAILED
        assert f"default/{NAMESPACE}/{SHADOW} does not exist: create it" in check.why


def test_an_answer_that_is_lost_leaves_nothing_on_the_shadow_flag(tmp_path: Path) -> None:
    with FliptServer("v2", seed=SEED) as flipt:
        flipt.faults.add(Fault.lost_answer("PUT"))
        checked(tmp_path, flipt)
        assert b"rollback:" not in bytes_of(flipt, SHADOW)


# -- put together ------------------------------------------------------------------------------------------------------


def test_the_loop_is_built_from_the_policies(tmp_path: Path) -> None:
    from rollback import automation_bootstrap as adapters

    with FliptServer("v2", seed=SEED) as flipt, session_on(tmp_path, flipt) as (session, _):
        loaded = load_policies(session.settings.policies, {})
        inbox = adapters.inbox(session.settings, lambda _: None)
        loop = arming_loop(session.settings, loaded, {FEATURE: session}, inbox, session.clock, lambda _: None)
        inbox.close()
        assert isinstance(loop, ArmingLoop)
        names = {check.name for check in loop.checks(FEATURE)}
        assert names == {"automation", "rules", "write", "baseline"}
        assert loop.stop(5)


def test_a_watchdog_is_there_exactly_when_its_address_can_be_used(tmp_path: Path) -> None:
    folder = write_policies(tmp_path / "policies")
    file = folder / "automation.yaml"

    def built() -> object:
        automation = load_policies(folder, {"URL": "https://alive.example.org/secret"}).automation
        return watchdog_loop(automation, SystemClock(), lambda: "", lambda _: None)

    assert built() is None
    file.write_text('heartbeat: {url: "${NOT_SET}"}\n')
    assert built() is None
    file.write_text('heartbeat: {url: "http://plain.example.org/secret"}\n')
    assert built() is None
    file.write_text('heartbeat: {url: "${URL}", every: 30s}\n')
    assert "secret" not in repr(built())
    assert built() is not None
