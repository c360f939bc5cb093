"""Declarative files for the contract suite: one in v1's shape, one as v2 writes it, one in JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore
from rollback.core.flag import Rollout
from rollback.ports import FlagStore

HEAD = "# kept by the team\n"


@dataclass
class FileBench:
    """A declarative file; somebody else rewrites it as a whole, as a program would."""

    store: FlagStore
    path: Path
    dump: Callable[[Any], str]

    def deadline(self) -> float:
        return time.monotonic() + 5.0

    def content(self) -> Any:
        return self.path.read_text("utf-8")

    def somebody_adds(self, rollout: Rollout, *, in_front: bool = False) -> None:
        one: dict[str, Any] = {"description": rollout.description}
        if rollout.percentage is not None:
            one["threshold"] = {"percentage": rollout.percentage, "value": rollout.value}
        else:
            one["segment"] = {"keys": list(rollout.segments), "value": rollout.value}
        self._edit("sm", lambda flag: flag["rollouts"].insert(0 if in_front else len(flag["rollouts"]), one))

    def somebody_removes(self, description: str) -> None:
        def edit(flag: dict[str, Any]) -> None:
            flag["rollouts"] = [one for one in flag["rollouts"] if one.get("description") != description]

        self._edit("sm", edit)

    def somebody_disables(self) -> None:
        self._edit("vf", lambda flag: flag.update(enabled=False))

    def _edit(self, key: str, edit: Callable[[dict[str, Any]], object]) -> None:
        data = yaml.safe_load(self.path.read_text("utf-8"))
        edit(next(flag for flag in data["flags"] if flag["key"] == key))
        self.path.write_text(self.dump(data), "utf-8")


def as_yaml(data: Any) -> str:
    """Block style with a comment at the top."""
    return HEAD + str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=200))


def as_v2_yaml(data: Any) -> str:
    """The file as v2 writes it: false and zero left out, `keys`, the namespace an object."""
    return as_yaml({**_left_out(data), "version": "1.6", "namespace": {"key": "mhv", "name": "MHV"}})


def as_json(data: Any) -> str:
    """Indented JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _left_out(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_left_out(one) for one in value]
    if not isinstance(value, dict):
        return value
    if name == "segment" and "key" in value:
        value = {"keys": [value["key"]], "operator": "OR_SEGMENT_OPERATOR", "value": value["value"]}
    is_left_out = name in {"segment", "threshold"}
    return {key: _left_out(one, key) for key, one in value.items() if not (is_left_out and one is False)}


def file_bench(
    folder: Path, name: str, seed: Any, dump: Callable[[Any], str], *, by_folder: bool = False
) -> AbstractContextManager[FileBench]:
    """A bench on `folder/name`; the store is given the folder itself when `by_folder`."""

    @contextmanager
    def opened() -> Iterator[FileBench]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(seed), "utf-8")
        store = DeclarativeFileFlagStore(folder if by_folder else path)
        try:
            yield FileBench(store, path, dump)
        finally:
            store.close()

    return opened()
