"""The flag stores that the contract suite is run on, each with what it writes to and with somebody else who writes too.

To add a store: write a function that takes an empty folder and yields a `Bench` on `SEED`, and put it into `BENCHES`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rollback.adapters.flag_stores.flipt_auto import FliptAutoFlagStore
from rollback.adapters.flag_stores.flipt_json import rollout_to_v1, rollout_to_v2
from rollback.adapters.flag_stores.flipt_v1 import FliptV1FlagStore
from rollback.adapters.flag_stores.flipt_v2 import FliptV2FlagStore
from rollback.adapters.flipt_http import FliptHttp
from rollback.core.flag import FlagRef, Rollout
from rollback.ports import FlagStore
from rollback.sandbox import FliptServer
from tests.contracts.file_benches import as_json, as_v2_yaml, as_yaml, file_bench

BOOLEAN = FlagRef("default", "mhv", "sm")
VARIANT = FlagRef("default", "mhv", "vf")

VETERANS: dict[str, Any] = {
    "key": "veterans",
    "name": "Veterans",
    "match_type": "ANY_MATCH_TYPE",
    "constraints": [{"type": "STRING_COMPARISON_TYPE", "property": "role", "operator": "eq", "value": "veteran"}],
}
SEED: dict[str, Any] = {
    "version": "1.4",
    "namespace": "mhv",
    "flags": [
        {
            "key": "sm",
            "name": "Secure messaging",
            "type": "BOOLEAN_FLAG_TYPE",
            "description": "the team's own words",
            "enabled": True,
            "metadata": {"owner": "mhv", "deep": {"n": 3}},
            "rollouts": [
                {"description": "veterans first", "segment": {"key": "veterans", "value": True}},
                {"threshold": {"percentage": 50, "value": True}},
                {"description": "the rest", "threshold": {"percentage": 100, "value": False}},
            ],
        },
        {
            "key": "vf",
            "name": "Variants",
            "type": "VARIANT_FLAG_TYPE",
            "description": "shades",
            "enabled": True,
            "metadata": {"owner": "mhv"},
            "variants": [{"key": "on", "name": "On", "default": True}, {"key": "control", "name": "Control"}],
            "rules": [{"segment": "veterans", "distributions": [{"variant": "on", "rollout": 100}]}],
        },
    ],
    "segments": [VETERANS],
}
"""What every bench starts with, in the shape of Flipt's declarative files."""

CHANGES_BY_ITSELF = frozenset({"id", "rank", "createdAt", "updatedAt", "revision", "flagKey", "namespaceKey", "ruleId"})


class Bench(Protocol):
    """A store and the world around it."""

    store: FlagStore

    def content(self) -> Any:
        """All that the store keeps of both flags, unknown fields too; without ids, ranks and times."""

    def somebody_adds(self, rollout: Rollout, *, in_front: bool = False) -> None:
        """Somebody else adds a rollout to the boolean flag, at the end or in front."""

    def somebody_removes(self, description: str) -> None:
        """Somebody else takes out the boolean flag's rollout with this description."""

    def somebody_disables(self) -> None:
        """Somebody else sets the variant flag's `enabled` to false, and nothing else."""

    def deadline(self) -> float:
        """A time that is far enough away."""


@dataclass
class FliptBench:
    """A Flipt stand-in; somebody else uses its management API."""

    store: FlagStore
    server: FliptServer

    def deadline(self) -> float:
        return time.monotonic() + 5.0

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """The bare API, without faults and not counted. Anything but a success fails the test."""
        answer = self.server.carry_out(method, path, document)
        assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body!r}"
        return json.loads(answer.body)

    def content(self) -> Any:
        return [_settled(self._management(ref)) for ref in (BOOLEAN, VARIANT)]

    def rollouts(self) -> list[dict[str, Any]]:
        """The boolean flag's rollouts in the API's own words."""
        found: list[dict[str, Any]] = self._management(BOOLEAN)["rollouts"]
        return found

    def somebody_adds(self, rollout: Rollout, *, in_front: bool = False) -> None:
        if self.server.api == "v2":
            self._edit_v2(BOOLEAN, lambda flag: _insert(flag["rollouts"], dict(rollout_to_v2(rollout)), in_front))
            return
        ranks = [one["rank"] for one in self.rollouts()]
        if in_front and 0 in ranks:
            self.call("PUT", f"{_V1}/sm/rollouts/order", {"rolloutIds": [one["id"] for one in self.rollouts()]})
        rank = 0 if in_front else max(ranks, default=0) + 1
        self.call("POST", f"{_V1}/sm/rollouts", {"rank": rank, **rollout_to_v1(rollout)})

    def somebody_removes(self, description: str) -> None:
        if self.server.api == "v2":
            self._edit_v2(
                BOOLEAN,
                lambda flag: flag.update(
                    rollouts=[one for one in flag["rollouts"] if one["description"] != description]
                ),
            )
            return
        for one in self.rollouts():
            if one["description"] == description:
                self.call("DELETE", f"{_V1}/sm/rollouts/{one['id']}")

    def somebody_disables(self) -> None:
        if self.server.api == "v2":
            self._edit_v2(VARIANT, lambda flag: flag.update(enabled=False))
            return
        flag = self._management(VARIANT)
        default = flag.get("defaultVariant", {}).get("id", "")
        named = {"name": flag["name"], "description": flag["description"], "defaultVariantId": default}
        self.call("PUT", f"{_V1}/vf", {**named, "enabled": False})

    def _management(self, ref: FlagRef) -> dict[str, Any]:
        if self.server.api == "v2":
            found: dict[str, Any] = self.call("GET", f"{_V2}/flipt.core.Flag/{ref.flag_key}")["resource"]["payload"]
            return found
        flag = self.call("GET", f"{_V1}/{ref.flag_key}")
        rules = self.call("GET", f"{_V1}/{ref.flag_key}/rules")["rules"]
        return {**flag, "rules": rules, "rollouts": self.call("GET", f"{_V1}/{ref.flag_key}/rollouts")["rules"]}

    def _edit_v2(self, ref: FlagRef, edit: Callable[[dict[str, Any]], object]) -> None:
        found = self.call("GET", f"{_V2}/flipt.core.Flag/{ref.flag_key}")
        edit(found["resource"]["payload"])
        body = {"key": ref.flag_key, "revision": found["revision"], "payload": found["resource"]["payload"]}
        self.call("PUT", _V2, body)


_V1 = "/api/v1/namespaces/mhv/flags"
_V2 = "/api/v2/environments/default/namespaces/mhv/resources"


def _insert(rollouts: list[Any], one: Any, in_front: bool) -> None:
    rollouts.insert(0 if in_front else len(rollouts), one)


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _settled(one) for name, one in value.items() if name not in CHANGES_BY_ITSELF}
    return [_settled(one) for one in value] if isinstance(value, list) else value


def flipt_bench(api: str, make: Callable[[FliptHttp], FlagStore], **options: Any) -> AbstractContextManager[FliptBench]:
    """A bench on a stand-in with this API; `options` are the server's."""

    @contextmanager
    def opened() -> Iterator[FliptBench]:
        with FliptServer(api=api, seed=SEED, **options) as server:
            store = make(FliptHttp(server.url))
            try:
                yield FliptBench(store, server)
            finally:
                store.close()

    return opened()


BENCHES: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {
    "flipt-v1": lambda _: flipt_bench("v1", FliptV1FlagStore),
    "flipt-v2": lambda _: flipt_bench("v2", FliptV2FlagStore),
    "flipt-auto-v1": lambda folder: flipt_bench("v1", lambda http: FliptAutoFlagStore(http, folder / "api.json")),
    "flipt-auto-v2": lambda folder: flipt_bench("v2", lambda http: FliptAutoFlagStore(http, folder / "api.json")),
    "file-v1": lambda folder: file_bench(folder, "features.yml", SEED, as_yaml),
    "file-v2": lambda folder: file_bench(folder, "mhv/features.yaml", SEED, as_v2_yaml, by_folder=True),
    "file-json": lambda folder: file_bench(folder, "features.json", SEED, as_json),
}
