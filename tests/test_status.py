"""The document about one feature: nothing is claimed that the flag does not show."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollback.core.exposure import Exposure
from rollback.core.flag import FlagRef, Polarity
from rollback.core.marker import Marker
from rollback.core.model import Incident, NeedsHuman, Severity, State
from rollback.core.proof import OffProof, ProofPart, Status
from rollback.flag_reference import FlagReference, Surface
from rollback.status import differences, document

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
WORLD = {"store": "Flipt v1", "url": "http://127.0.0.1", "environment": "default", "namespace": "mhv", "flag": "sm"}
REFERENCE = FlagReference(
    feature="secure-messaging",
    name="Secure Messaging",
    ref=FlagRef("default", "mhv", "sm"),
    polarity=Polarity(),
    poll_interval_seconds=120.0,
    replica_lag_seconds=30.0,
    not_covered=(Surface("mobile", "it reads another flag"),),
)
OFF = Exposure((None,) * 100)
SOME = Exposure(("the default: enabled is true",) * 3 + (None,) * 97)
UNKNOWN = Exposure((None,) * 100, unknown="its rank -1 is negative")
PROVEN = OffProof(tuple(ProofPart(name, Status.PROVEN, "nobody", NOW) for name in ("reasoning", "engine", "server")))
UNPROVEN = OffProof((*PROVEN.parts, ProofPart("polling", Status.WAITING, "119 s are left", NOW)))
KILL = Marker("sm-1", "kill-1-ab", "alex", "2026-11-23T09:00:00Z")


def incident(state: State = State.DISABLED, **changes: Any) -> Incident:
    values: dict[str, Any] = {"turned_at": NOW, "settled_held": 100, "kills": ("kill-1-ab",), **changes}
    return Incident("sm-1", "secure-messaging", Severity.CRITICAL, state, NOW, NOW, **values)


def told(case: Incident | None, seen: Exposure | None, proof: OffProof | None = None, **more: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(document(REFERENCE, WORLD, case, seen, proof, **more)))
    return read


@pytest.mark.parametrize("seen", [None, UNKNOWN, SOME])
@pytest.mark.parametrize("proof", [None, PROVEN, UNPROVEN])
def test_off_is_never_proven_while_the_exposure_is_unknown_or_above_0(
    seen: Exposure | None, proof: OffProof | None
) -> None:
    page = told(incident(), seen, proof)
    assert page["off_proven"] is False
    assert page["off_since"] is None
    assert page["pollers_follow_by"] is None
    assert page["exposure"] == (3 if seen is SOME else None)


@pytest.mark.parametrize(("proof", "proven"), [(None, False), (UNPROVEN, False), (OffProof(()), False), (PROVEN, True)])
def test_off_is_proven_only_when_nobody_is_served_and_every_part_holds(proof: OffProof | None, proven: bool) -> None:
    page = told(incident(), OFF, proof)
    assert page["off_proven"] is proven
    assert page["off_basis"] == (proof.to_json() if proof else None)


def test_an_exposure_that_is_unknown_says_why() -> None:
    assert told(incident(), None)["exposure_unknown"] == "the flag could not be read"
    assert told(incident(), UNKNOWN)["exposure_unknown"] == "its rank -1 is negative"
    assert told(incident(), UNKNOWN)["exposure_reasons"] == []
    assert told(incident(), SOME)["exposure_unknown"] is None
    assert told(incident(), SOME)["exposure_reasons"] == ["the default: enabled is true"]


def test_the_document_names_the_world_and_the_case() -> None:
    human = NeedsHuman("decide", "owner", NOW, NOW + timedelta(hours=1))
    case = incident(needs_human=human, fix="3f2c1ab", gate_blind=True, keep_off=True, pending_off_since=NOW)
    page = told(case, OFF, marks=(KILL,), evidence={"metrics": []}, warnings=("the ledger is broken",))
    assert (page["feature"], page["name"], page["store"]) == ("secure-messaging", "Secure Messaging", "Flipt v1")
    assert page["world"] == WORLD
    assert (page["state"], page["severity"], page["incident"]) == ("disabled", "critical", "sm-1")
    assert page["since"] == page["opened_at"] == page["off_since"] == "2026-11-23T09:00:00Z"
    assert page["needs_human"] == {
        "what": "decide",
        "role": "owner",
        "since": "2026-11-23T09:00:00Z",
        "by": "2026-11-23T10:00:00Z",
    }
    assert (page["fix"], page["gate_blind"], page["kept_off"]) == ("3f2c1ab", True, True)
    assert page["pending_off_since"] == "2026-11-23T09:00:00Z"
    assert page["ours_on_flag"] == [
        {"incident": "sm-1", "key": "kill-1-ab", "by": "alex", "at": "2026-11-23T09:00:00Z"}
    ]
    assert page["evidence"] == {"metrics": []}
    assert page["warnings"] == ["the ledger is broken"]
    assert page["not_covered"] == [{"name": "mobile", "because": "it reads another flag"}]
    assert page["differs"] == []


def test_without_a_case_the_state_is_normal_and_nothing_is_made_up() -> None:
    page = told(None, SOME)
    assert (page["state"], page["severity"], page["incident"], page["since"]) == ("normal", None, None, None)
    assert (page["needs_human"], page["evidence"], page["fix"]) == (None, None, None)
    assert (page["gate_blind"], page["kept_off"], page["off_since"]) == (None, False, None)
    assert page["differs"] == []


def test_clients_that_poll_follow_one_interval_and_the_replica_lag_after_it_turned() -> None:
    assert told(incident(), OFF)["pollers_follow_by"] == "2026-11-23T09:02:30Z"
    assert told(incident(turned_at=None), OFF)["pollers_follow_by"] is None
    assert told(None, OFF)["pollers_follow_by"] is None
    nobody_polls = FlagReference("sm", "SM", REFERENCE.ref, Polarity(), poll_interval_seconds=None)
    assert document(nobody_polls, WORLD, incident(), OFF, None)["pollers_follow_by"] is None


# -- flag and case differ ------------------------------------------------------------------------------------


def test_a_case_of_another_machine_is_named_to_be_adopted() -> None:
    cohort = Marker("sm-9", "cohort-2-cd")
    assert differences(None, OFF, (KILL,)) == ["the flag carries a kill of case sm-1, which is not open here: adopt it"]
    assert "cohort of case sm-9" in differences(None, SOME, (cohort, KILL))[0]
    assert differences(None, None, ()) == []


@pytest.mark.parametrize(
    ("case", "seen", "count"),
    [
        (incident(State.DISABLED), SOME, 1),
        (incident(State.DISABLED, settled_held=None), SOME, 1),
        (incident(State.DISABLED), OFF, 0),
        (incident(State.DISABLED), UNKNOWN, 0),
        (incident(State.DISABLED), None, 0),
        (incident(State.VERIFYING), SOME, 1),
        (incident(State.VERIFYING, settled_held=90), SOME, 0),
        (incident(State.DISABLING), SOME, 0),
        (incident(State.RAMPING, settled_held=50), SOME, 0),
        (incident(State.MONITORING, settled_held=0), SOME, 0),
    ],
)
def test_a_case_that_says_off_while_buckets_are_open_differs_from_its_flag(
    case: Incident, seen: Exposure | None, count: int
) -> None:
    found = differences(case, seen, (KILL,))
    assert len(found) == count
    assert all(line == f"the case says {case.state}, but 3 of 100 buckets are open on the flag" for line in found)


def test_a_kill_that_the_case_does_not_know_is_shown_with_who_put_it_there() -> None:
    stranger, nameless = Marker("sm-1", "kill-2-cd", "sam"), Marker("sm-1", "kill-3-ef")
    line = "the flag carries a kill that this history does not know, by "
    assert differences(incident(), OFF, (stranger, KILL)) == [line + "sam"]
    assert differences(incident(), OFF, (KILL, nameless)) == [line + "somebody"]
    assert differences(incident(), OFF, (Marker("sm-1", "cohort-1-cd"), KILL)) == []
