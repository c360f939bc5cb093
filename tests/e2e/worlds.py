"""The worlds in which commands run: a flag as a team keeps it, policies with short waits, servers, who is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollback.sandbox import FliptServer, SmApi
from tests.e2e.harness import PATIENCE, REPOSITORY, Cli
from tests.sandbox.calls import ask, threshold

NAMESPACE, FLAG, FEATURE = "mhv", "secure-messaging", "secure-messaging"
ENTITIES = 1000
CONTEXTS: tuple[dict[str, str], ...] = ({}, {"role": "veteran"}, {"role": "staff"})
WRITES = "PUT|POST|DELETE|PATCH"
MANAGEMENT = "^/api/"

VETERANS = {
    "key": "veterans",
    "name": "Veterans",
    "match_type": "ANY_MATCH_TYPE",
    "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}],
}
FOR_VETERANS = {"description": "veterans have it", "segment": {"key": "veterans", "value": True}}
FOR_HALF = threshold(50, True, "half of everybody else")


def flag_of(*rollouts: Mapping[str, Any], enabled: bool = False, **fields: Any) -> dict[str, Any]:
    """The flag of Secure Messaging, with these rollouts; enough others that an edit of it would show."""
    return {
        "key": FLAG,
        "name": "Secure Messaging",
        "description": "Messages between veterans and care teams",
        "type": "BOOLEAN_FLAG_TYPE",
        "enabled": enabled,
        "metadata": {"owner": "mhv", "tier": 1},
        "rollouts": list(rollouts),
        **fields,
    }


def seed_of(flag: Mapping[str, Any] | None) -> dict[str, Any]:
    """A store with this flag (None: without it), another one, and the segment of veterans."""
    other = {"key": "other", "name": "Other", "type": "BOOLEAN_FLAG_TYPE", "enabled": True}
    flags = [other] if flag is None else [dict(flag), other]
    return {"namespaces": {NAMESPACE: {"flags": flags, "segments": [VETERANS]}}}


USUAL = flag_of(FOR_VETERANS, FOR_HALF)
"""On for veterans, and for half of everybody else."""
HALF = flag_of(FOR_HALF)
"""On for half of everybody."""

# -- policies ------------------------------------------------------------------------------------------------------

FEATURE_POLICY = """\
feature: secure-messaging
name: Secure Messaging
aliases: [sm]
production: {production}
flag: {flag}
clients:
  - {{name: Web application, kind: polling, interval: {poll}}}
replica_lag: {replica_lag}
prove_within: {prove_within}
surfaces:
  - {{name: Web application, reached: true, because: It asks for the flag when a page is loaded.}}
  - {{name: Mobile app, reached: false, because: Another team switches it off.}}
health:
  control: {{name: control, url: "${{SM_API_URL}}/control", timeout: 2s}}
  endpoints:
    - name: folders
      url: ${{SM_API_URL}}/my_health/v1/messaging/folders
      expected_statuses: [2xx]
      timeout: 2s
"""
SEVERITIES = {
    "critical": ("off", (10, 50, 100)),
    "high": ("reduce\nreduce_to: 10", (25, 50, 100)),
    "low": ("leave", ()),
}


def write_policies(
    folder: Path,
    *,
    production: bool = True,
    flag: str = f"{{namespace: {NAMESPACE}, key: {FLAG}}}",
    poll: str = "50ms",
    replica_lag: str = "0s",
    prove_within: str = "10s",
    soak: str = "50ms",
    deadline: str = "20s",
    monitoring: str = "300ms",
) -> Path:
    """A policy folder like the shipped one, with short waits and a gate that 42 clean samples open."""
    words = {"production": str(production).lower(), "flag": flag, "poll": poll, "replica_lag": replica_lag}
    text = FEATURE_POLICY.format(**words, prove_within=prove_within)
    (folder / "features").mkdir(parents=True, exist_ok=True)
    (folder / "features" / f"{FEATURE}.yaml").write_text(text)
    limits = f"minimum_soak: {soak}, deadline: {deadline}"
    for severity, (mitigation, steps) in SEVERITIES.items():
        ladder = "".join(f"  - {{percent: {percent}, {limits}}}\n" for percent in steps)
        (folder / f"{severity}.yaml").write_text(
            f"severity: {severity}\nsummary: A policy with short waits.\nmitigation: {mitigation}\n"
            f"gate: {{p0: 0.2, alpha: 0.01, harm_alpha: 0.01, interval: 2ms, {limits}}}\n"
            + (f"ladder:\n{ladder}" if ladder else "")
            + f"monitoring: {{duration: {monitoring}, interval: 5ms, false_alarms_per_year: 1}}\n"
            "needs_human_after: 4h\n"
        )
    return folder


# -- the world -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class World:
    """A Flipt, the pretend application (broken until somebody mends it), and the machine of the first responder."""

    folder: Path
    flipt: FliptServer
    api: SmApi
    cli: Cli

    def machine(self, name: str, **settings: str | None) -> Cli:
        """Another machine: nothing in common with the first but servers and policies."""
        return Cli(self.folder / name, self.cli.flipt_url, self.cli.policies, {**self.cli.settings, **settings})

    def mend(self) -> None:
        """The application answers well from here on."""
        self.api.behave(error_rate=0.0)

    def break_it(self) -> None:
        """The application fails from here on."""
        self.api.behave(error_rate=1.0)

    @property
    def writes(self) -> int:
        """How many writes the flag store was sent."""
        return self.flipt.count(WRITES, MANAGEMENT)

    @property
    def flag(self) -> dict[str, Any]:
        """What the store holds of the flag: everything that people see of it, without ids and times."""
        return seen_of(self.flipt)


@contextmanager
def world_in(folder: Path, api: str, flag: Mapping[str, Any] | None = USUAL, **server: Any) -> Iterator[World]:
    """A world whose Flipt speaks `api`, with policies of short waits; gone afterwards."""
    policies = write_policies(folder / "policies")
    with FliptServer(api, seed=seed_of(flag), **server) as flipt, SmApi(error_rate=1.0) as application:
        cli = Cli(folder / "first", flipt.url, policies, {"SM_API_URL": application.url})
        yield World(folder, flipt, application, cli)


def seen_of(flipt: FliptServer, key: str = FLAG) -> dict[str, Any]:
    """A flag as people see it: content and order, without ids, ranks and times."""
    told = flipt.dump()
    spaces = told.get("namespaces") or told["environments"]["default"]["namespaces"]
    return next(dict(_plain(flag)) for flag in spaces[NAMESPACE]["flags"] if flag["key"] == key)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in _THE_STORES_OWN}
    return value


_THE_STORES_OWN = frozenset({"id", "rank", "createdAt", "updatedAt"})


# -- who is served -------------------------------------------------------------------------------------------------


def served(url: str, *, variants: Sequence[str] = (), on: bool = True, flag: str = FLAG) -> int:
    """How many of 1,000 entities × contexts the server's own evaluation serves; `variants` are those that mean on."""
    asked = [
        {"namespaceKey": NAMESPACE, "flagKey": flag, "entityId": f"user-{number}", "context": context}
        for context in CONTEXTS
        for number in range(ENTITIES)
    ]
    answer = ask(url, "POST", "/evaluate/v1/batch", {"requests": asked})
    assert answer.status == 200, answer.body
    return sum(
        one["variantResponse"]["variantKey"] in variants if variants else one["booleanResponse"]["enabled"] is on
        for one in answer.body["responses"]
    )


def served_by_sdk(url: str) -> int:
    """The same by the vendor's client, in a process of its own (its engine aborts the process when refused)."""
    questions = [[FLAG, f"user-{number}", context] for context in CONTEXTS for number in range(ENTITIES)]
    told = {"url": url, "namespace": NAMESPACE, "questions": questions}
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.engine_child"],
        input=json.dumps(told),
        cwd=REPOSITORY,
        env={"PATH": os.environ.get("PATH", os.defpath), "RUST_LIB_BACKTRACE": "0", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(questions)
    assert all(isinstance(answer, bool) for answer in answers)
    return sum(answers)


@dataclass(slots=True)
class Counting:
    """Counts, beside a command, how many of 1,000 entities without context are served; each new number is kept.

    `seen` maps a number to how often it was counted, in the order of first sight.
    """

    flipt: FliptServer
    seen: Counter[int] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Counting:
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def _count(self) -> None:
        while True:
            self.seen[count_now(self.flipt)] += 1
            if self._over.wait(0.02):
                return


def count_now(flipt: FliptServer) -> int:
    """How many of 1,000 entities without context the server serves at this moment."""
    state = flipt.state()  # one state for all, so that a write in between cannot mix two
    return sum(evaluate(flipt, state, f"user-{number}") for number in range(ENTITIES))


def evaluate(flipt: FliptServer, state: Any, entity: str) -> bool:
    """One answer from one state."""
    from rollback.sandbox.evaluation import Asked, Evaluator

    space = state.environments["default"].namespaces[NAMESPACE]
    return Evaluator(space, flipt.api).boolean(space.flags[FLAG], Asked(entity, {})).enabled
