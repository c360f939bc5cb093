"""The output of a command that nobody typed: each line is a fact in the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rollback import log


class LogOutput:
    """An `Output` that logs. `lines` keeps what was said; `on_warn` hears each warning, for whoever tells people."""

    as_json = False
    is_terminal = False
    columns: int | None = None

    def __init__(self, feature: str, on_warn: Callable[[str], None] = lambda _text: None) -> None:
        self._feature = feature
        self._on_warn = on_warn
        self._warned: set[str] = set()
        self.lines: list[str] = []

    def line(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:  # noqa: ARG002 - no colours here
        """A line for people."""
        self.lines.append(text)
        log.event("said", feature=self._feature, text=text)

    def warn(self, text: str) -> None:
        """A warning, once."""
        if text not in self._warned:
            self._warned.add(text)
            log.event("warned", feature=self._feature, text=text)
            self._on_warn(text)

    def live(self, text: str) -> None:
        """Nobody watches a line move."""

    def settle(self) -> None:
        """There is no live line."""

    def waiting(self, left: float, error: Exception) -> None:
        """The flag store does not answer."""
        self.warn(f"The flag store does not answer: {getattr(error, 'message', error)} (trying for {left:.0f} s more)")

    def raw(self, text: str) -> None:
        """An answer of its own has no reader here."""

    def document(self, document: Mapping[str, Any]) -> None:
        """A document has no reader here."""
