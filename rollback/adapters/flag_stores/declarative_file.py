"""A declarative Flipt file as a flag store: what Flipt v1 serves from a folder and v2 keeps in its repository.

Reading is one look at the file. Writing edits its text in place, replaces the file in one step, and reads it back. No
lock is waited for, so nothing makes a kill wait; whoever comes second sees that the file has changed. Who reads the
file, and when, is not known here: "off in the file" is all that this store can say.
Kill path: standard library only; PyYAML is loaded when a file is read.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from rollback.adapters.flag_stores.declarative_edit import edit_flag
from rollback.adapters.flag_stores.declarative_reading import DeclarativeFile, parse_file, read_flag
from rollback.adapters.flag_stores.file_replacement import (
    BeingReplaced,
    ChangedMeanwhile,
    Swap,
    digest,
    exchange,
    read_bytes,
    replace_file,
)
from rollback.core.flag import FlagConfig, FlagRef, FlagSnapshot
from rollback.errors import (
    ConfigurationError,
    Conflict,
    FlagMissing,
    RollbackError,
    StoreRefused,
    StoreUnreachable,
    Unsettled,
)

ENVIRONMENT = "default"
"""The only environment that a file has."""

_TURNS_FOR_OTHERS = 8
"""How often a write heeds another one under way before it goes on all the same: some milliseconds in all."""

_NAMES = ("features.yaml", "features.yml")
_WHICH = "Check ROLLBACK_FLIPT_URL: file: and the path of a declarative Flipt file, or of a folder of them."


def path_of_url(url: str) -> str:
    """The path in `file:features.yml` or `file:///folder/features.yml`; in the second form `%20` is a space.

    Raises `ConfigurationError` for another scheme, a host, or no path.
    """
    scheme, _, rest = url.partition(":")
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, behind = rest[2:].partition("/")
        path = unquote(slash + behind)
    if scheme.lower() != "file" or host not in {"", "localhost"} or not path.strip("/"):
        raise ConfigurationError(f"{url} is not the address of a file on this machine", next=_WHICH)
    return path


class DeclarativeFileFlagStore:
    """The `FlagStore` of a declarative file, or of a folder with `<namespace>/features.yaml` (or `.yml`).

    A folder may also have one `features.yaml` for all namespaces. A flag's revision is the SHA-256 of its file.
    `swap` and `monotonic` are there for tests.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, swap: Swap = exchange, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = os.path.abspath(path)
        self.where = f"file {self.path}"
        self._swap = swap
        self._monotonic = monotonic
        self._last: tuple[tuple[str, bytes], DeclarativeFile] | None = None

    def read(self, ref: FlagRef, *, deadline: float, segments: bool = False) -> FlagSnapshot:
        """See `FlagStore.read`."""
        self._check_time(deadline)
        _, data, file = self._load(ref)
        return FlagSnapshot(ref, read_flag(file, ref, segments=segments), digest(data))

    def write(self, base: FlagSnapshot, desired: FlagConfig, *, deadline: float) -> FlagSnapshot:
        """See `FlagStore.write`. An edit of the file that leaves this flag alone is no conflict: it is kept."""
        if not base.revision:
            raise StoreRefused(f"{self.where} gave no revision for {base.ref}; nothing is written without one.")
        if desired == base.config:
            return base
        ref, seen, turns = base.ref, b"", 0
        while True:
            self._check_time(deadline)
            path, data, file = self._load(ref)
            seen, turns = data, turns + 1 if data == seen else 0
            if digest(data) != base.revision and not _same(now := read_flag(file, ref), base.config):
                if _in_effect(base.config, desired, now):  # another process took ours along before it was taken back
                    return self._read_back(base, desired)
                raise Conflict(f"{ref} was changed by somebody else in {self.where}.")
            new = file.encode(edit_flag(file, ref, desired))
            try:
                replace_file(path, new, expected=digest(data), swap=self._swap, heed_others=turns < _TURNS_FOR_OTHERS)
            except (ChangedMeanwhile, BeingReplaced):
                continue
            return self._read_back(base, desired)

    def close(self) -> None:
        """Nothing is held open."""

    def _read_back(self, base: FlagSnapshot, desired: FlagConfig) -> FlagSnapshot:
        """The flag as it is now. Raises `Conflict` when a later write of somebody else took ours away."""
        try:
            _, data, file = self._load(base.ref)
            now = read_flag(file, base.ref, segments=bool(base.config.segments))
        except RollbackError as error:
            raise Unsettled(
                f"the change of {base.ref} was written to {self.where}, which cannot be read now: {error.message}",
                next=error.next,
            ) from error
        if not _in_effect(base.config, desired, now):
            raise Conflict(f"{base.ref} was overwritten by somebody else in {self.where}.")
        return FlagSnapshot(base.ref, now, digest(data))

    def _load(self, ref: FlagRef) -> tuple[str, bytes, DeclarativeFile]:
        """The path of the file itself (links followed), its content, and what it says."""
        if ref.environment != ENVIRONMENT:
            raise FlagMissing(
                f"{self.where} has no environment {ref.environment}", next=f"A file has only {ENVIRONMENT}."
            )
        path = self._file_for(ref)
        try:
            path = os.path.realpath(path, strict=True)
            data = read_bytes(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ConfigurationError(f"{self.where} does not exist", next=_WHICH) from error
        except IsADirectoryError as error:
            raise ConfigurationError(f"file {path} is no regular file", next=_WHICH) from error
        except PermissionError as error:
            raise StoreRefused(
                f"file {path} cannot be read: {error.strerror}", next="Allow this account to read and write it."
            ) from error
        except OSError as error:
            raise StoreUnreachable(f"file {path} cannot be read: {error.strerror}") from error
        last = self._last
        if last is None or last[0] != (path, data):
            last = self._last = (path, data), parse_file(data, f"file {path}" if path != self.path else self.where)
        return path, data, last[1]

    def _file_for(self, ref: FlagRef) -> str:
        if not os.path.isdir(self.path):
            return self.path
        folders = [os.path.join(self.path, ref.namespace)] if re.fullmatch(r"[-\w,]+", ref.namespace) else []
        candidates = [os.path.join(folder, name) for folder in (*folders, self.path) for name in _NAMES]
        found = next((path for path in candidates if os.path.lexists(path)), None)
        if found is None:
            raise FlagMissing(
                f"{self.where} has no file for namespace {ref.namespace}", next=f"It would be {candidates[0]}."
            )
        return found

    def _check_time(self, deadline: float) -> None:
        if self._monotonic() >= deadline:
            raise StoreUnreachable(f"the time for {self.where} is over; nothing was written")


def _same(one: FlagConfig, other: FlagConfig) -> bool:
    """Whether two readings of a flag decide the same; segments are only there when they were asked for."""
    return replace(one, segments={}) == replace(other, segments={})


def _in_effect(base: FlagConfig, desired: FlagConfig, now: FlagConfig) -> bool:
    """Whether all that `desired` changes on `base` holds in `now`, whatever others have changed besides."""
    before, after, found = set(base.rollouts), set(desired.rollouts), set(now.rollouts)
    fields = ("enabled", "default_variant", "description")
    changed = [name for name in fields if getattr(base, name) != getattr(desired, name)]
    return (
        after - before <= found
        and not (before - after) & found
        and [one for one in desired.rollouts if one in found] == [one for one in now.rollouts if one in after]
        and all(getattr(now, name) == getattr(desired, name) for name in changed)
    )
