"""Declarative storage: a file of flags, read again when somebody changes it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rollback.sandbox.documents import SeedError, read_state
from rollback.sandbox.model import State
from rollback.sandbox.store import poll_for_change

Signature = tuple[int, int, int]


class DeclaredFile:
    """The state that a YAML (or JSON) file describes, as v1's `local` storage serves it.

    The file is looked at every `poll_interval` seconds (0: at each request), and an edit counts `settle`
    seconds after it was made. While it is broken or away, the last good state is served. SeedError when it
    cannot be read at the start.
    """

    def __init__(self, path: Path, settle: float = 0.0, poll_interval: float = 0.0) -> None:
        self._path = path
        self._settle = settle
        self._poll_interval = poll_interval
        self._lock = threading.Lock()
        self._signature = self._look()
        if self._signature is None:
            raise SeedError(f"{path} cannot be read")
        self._state = self._load(1)
        self._looked_at = time.monotonic()

    def current(self) -> State:
        """The last good state."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= self._poll_interval:
                self._looked_at = now
                self._refresh()
            return self._state

    def wait_for_change(self, version: int, timeout: float) -> State:
        """Looks at the file while it waits."""
        return poll_for_change(self.current, version, timeout)

    def _refresh(self) -> None:
        signature = self._look()
        if signature is None or signature == self._signature or not self._settled():
            return
        self._signature = signature
        try:
            self._state = self._load(self._state.version + 1)
        except SeedError:
            return

    def _settled(self) -> bool:
        """Was the last edit long enough ago? The time of the inode's change: nobody can set it back."""
        try:
            return time.time() - self._path.stat().st_ctime >= self._settle
        except OSError:
            return False

    def _look(self) -> Signature | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self, version: int) -> State:
        try:
            documents = parse(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SeedError(f"{self._path}: {error}") from error
        return replace(read_state(documents, "v1"), version=version)


def parse(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML stream. SeedError when it is no YAML, is empty, or holds something else."""
    from ruamel.yaml import YAML  # only this mode needs it
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe", pure=True).load_all(text)
        documents = [document for document in loaded if document is not None]
    except YAMLError as error:
        raise SeedError(f"not YAML: {error}") from error
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise SeedError("no declarative document")
    return documents
