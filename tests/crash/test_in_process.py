"""A crash at any call of a port, then the next changing command: settled, and never more exposed (invariant 18)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollback.core import exposure as exposures
from rollback.core.flag import BUCKETS
from rollback.core.history import Entry, EntryKind
from rollback.core.model import Incident, State
from rollback.incident_codec import incident_from_json
from tests.crash.dying import Crash, DyingHistory, Tripwire, wire
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.fakes.commands import person
from tests.fakes.world import FEATURE, World

SETTLED = {State.DISABLED, State.REDUCED, State.FIXING, State.RESOLVED, State.NORMAL}


@dataclass
class Ended:
    """A world whose process has died, with what was there at that moment."""

    world: World
    scenario: Scenario
    moment: str
    original: object
    at_crash: list[Entry]


def died_at(scenario: Scenario, folder: Path, at: int | None) -> tuple[Ended, Tripwire]:
    """Runs the scenario until it dies at this moment."""
    folder.mkdir()
    world = World(folder, scenario.flag)
    original = world.flag.rollouts
    scenario.before(world)
    tripwire = Tripwire(at)
    somebody = person(world, session=world.session(history=DyingHistory(world, tripwire)), policy=scenario.policy)
    wire(world, tripwire)
    moment = "its end"
    try:
        scenario.act(somebody)
    except Crash as crash:
        moment = str(crash)
    wire(world, None)
    world.probe.say("folders", 0.0)
    return Ended(world, scenario, moment, original, world.entries()), tripwire


def image(entries: list[Entry]) -> Incident | None:
    """The case as the last transition left it."""
    transitions = [e for e in entries if e.kind is EntryKind.TRANSITION]
    return incident_from_json(transitions[-1].after or {}) if transitions else None


def last_settled(ended: Ended) -> int:
    """How many buckets may be open by what was recorded before the crash."""
    world, case = ended.world, image(ended.at_crash)
    base = exposures.exposure(exposures.without(world.flag), world.reference.polarity)
    held = case.settled_held if case is not None and case.is_open else 0
    return sum(1 for bucket in base.buckets if bucket >= (held or 0))


def off_was_meant(ended: Ended) -> bool:
    """Whether an off was on its way that nobody had taken back."""
    case = image(ended.at_crash)
    lowered = [e for e in ended.at_crash if e.kind is EntryKind.INTENT]
    if not lowered or (lowered[-1].after or {}).get("held") != BUCKETS:
        return False
    if case is None or case.incident_id != lowered[-1].incident:
        return True
    return case.is_open and case.settled_held != 0


def check_settled(ended: Ended) -> None:
    world, where = ended.world, ended.moment
    state = world.incident.state if world.incident else State.NORMAL
    assert state in SETTLED, f"{where}: {state}"
    allowed = last_settled(ended)
    assert world.open_buckets <= allowed, f"{where}: {world.open_buckets} of at most {allowed}"
    if state is State.DISABLED:
        assert world.open_buckets == 0, where
    check_history(world, where)


def check_history(world: World, where: str) -> None:
    world.history().feed()
    verified = world.history().verify()
    assert verified.ok, (where, verified)
    assert world.history().entries(FEATURE).pending == (), where
    entries = world.entries()
    assert [k for k, n in Counter(e.entry_id for e in entries).items() if n > 1] == [], where
    intents = {e.key for e in entries if e.kind is EntryKind.INTENT}
    outcomes = {e.key for e in entries if e.kind is EntryKind.OUTCOME}
    settled = {e.data.get("key") for e in entries if e.name == "intent_settled"}
    assert intents <= outcomes | settled, f"{where}: an intent of which nothing was heard"
    cases = {e.incident: incident_from_json(e.after or {}) for e in entries if e.kind is EntryKind.TRANSITION}
    assert sum(case.is_open for case in cases.values()) <= 1, f"{where}: more than one open case"
    assert len(world.kills) == len(set(world.kills)), f"{where}: a kill is there twice"


def check_return(ended: Ended) -> None:
    """A clean return afterwards gives back what was there, in order and content."""
    world = ended.world
    if world.incident is None and world.kills:
        person(world).adopt()  # of another machine, and not taken over yet when the process died
    outcome = person(world, policy=policy_for(ended)).enable(fix="7ea5e00")
    assert outcome.exit_code == 0, (ended.moment, outcome)
    assert world.incident is None, ended.moment
    assert world.flag.rollouts == ended.original, ended.moment
    check_history(world, ended.moment)


def policy_for(ended: Ended):  # type: ignore[no-untyped-def]
    from rollback.core.model import Severity
    from tests.fakes.policies import critical, high, low

    case = ended.world.incident
    return {None: critical, Severity.CRITICAL: critical, Severity.HIGH: high, Severity.LOW: low}[
        case.severity if case else None
    ]()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_note(scenario: Scenario, tmp_path: Path) -> None:
    _, clean = died_at(scenario, tmp_path / "clean", None)
    failures = []
    for at in range(len(clean.moments)):
        ended, _ = died_at(scenario, tmp_path / str(at), at)
        try:
            assert ended.moment == clean.moments[at]
            person(ended.world).note()
            check_settled(ended)
            if off_was_meant(ended):
                assert ended.world.open_buckets == 0, f"{ended.moment}: an off was meant"
            check_return(ended)
        except Exception as error:
            failures.append(f"{at} {ended.moment}: {type(error).__name__} {str(error)[:160]}")
    print(
        scenario.name,
        len(clean.moments),
        Counter(m.split()[0] + " " + m.split()[1] if " " in m else m for m in clean.moments),
    )
    assert not failures, "\n".join(failures)
