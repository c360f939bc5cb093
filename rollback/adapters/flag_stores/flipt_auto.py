"""Which version of the API answers? Found out by the first read, and remembered for the next run.

Kill path: standard library and httpx.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rollback.adapters.flag_stores.flipt_json import DEFAULT_ENVIRONMENT
from rollback.adapters.flipt_http import FliptHttp, PathUnknown
from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot
from rollback.errors import ConfigurationError

if TYPE_CHECKING:
    from rollback.ports import FlagStore

VERSIONS = ("v2", "v1")


def flipt_flag_store(http: FliptHttp, api: str, memory: Path | None = None) -> FlagStore:
    """The store for `ROLLBACK_FLIPT_API`: `v1`, `v2` or `auto`. Raises `ConfigurationError` for another word."""
    # Each version is loaded only when it is used: a kill waits for every import.
    match api:
        case "auto":
            return FliptAutoFlagStore(http, memory)
        case "v1":
            from rollback.adapters.flag_stores.flipt_v1 import FliptV1FlagStore

            return FliptV1FlagStore(http)
        case "v2":
            from rollback.adapters.flag_stores.flipt_v2 import FliptV2FlagStore

            return FliptV2FlagStore(http)
    raise ConfigurationError(f"{api!r} is no version of Flipt's API.", next="ROLLBACK_FLIPT_API is auto, v1 or v2.")


class FliptAutoFlagStore:
    """A `FlagStore` for a Flipt of either version.

    A path that the server's version does not have is 404 with a text: then the other version is tried. `memory` is
    a small JSON file, from URL to version, which saves the next run that round trip; None: nothing is remembered. A
    wrong or unreadable memory costs a round trip and nothing else.
    """

    def __init__(self, http: FliptHttp, memory: Path | None = None) -> None:
        self._http = http
        self._memory = memory
        self._stores: dict[str, FlagStore] = {}
        self._version: str | None = None
        self.where = f"flipt {http.base_url}"

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot:
        """See `FlagStore.read`."""
        first = self._version or self._remembered()
        if ref.environment != DEFAULT_ENVIRONMENT:
            first = "v2"  # v1 knows no other environment, and would say so without asking the server
        try:
            return self._read(first, ref, deadline, segments)
        except PathUnknown:
            return self._read("v1" if first == "v2" else "v2", ref, deadline, segments)

    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot:
        """See `FlagStore.write`. Without a read before, the version shows in `base`: only v2's has a revision."""
        version = self._version or ("v1" if base.revision is None else "v2")
        return self._store(version).write(base, desired, deadline=deadline)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _read(self, version: str, ref: FlagRef, deadline: float, segments: bool) -> FlagSnapshot:
        store = self._store(version)
        snapshot = store.read(ref, deadline=deadline, segments=segments)
        self.where = store.where
        if version != self._version:
            self._version = version
            self._remember(version)
        return snapshot

    def _store(self, version: str) -> FlagStore:
        if version not in self._stores:
            self._stores[version] = flipt_flag_store(self._http, version)
        return self._stores[version]

    def _all_remembered(self) -> dict[str, str]:
        if self._memory is None:
            return {}
        try:
            found = json.loads(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(url): str(version) for url, version in found.items()} if isinstance(found, dict) else {}

    def _remembered(self) -> str:
        version = self._all_remembered().get(self._http.base_url, "")
        return version if version in VERSIONS else VERSIONS[0]

    def _remember(self, version: str) -> None:
        known = self._all_remembered()
        if self._memory is None or known.get(self._http.base_url) == version:
            return
        new = self._memory.with_name(f"{self._memory.name}.{os.getpid()}.new")
        # Best effort: a folder that cannot be written must not stand in the way of a kill.
        with contextlib.suppress(OSError):
            new.write_text(json.dumps({**known, self._http.base_url: version}, indent=1) + "\n", encoding="utf-8")
            new.replace(self._memory)
