"""Where a command's words go: a terminal, a pipe, a caller over HTTP, or the log. Kill path: standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rollback.core.evidence import Judgement


class Output(Protocol):
    """One command's output. None of it raises for what it is given.

    `line` is a line for people, dropped when the answer is JSON (`as_json`); `warn` a warning, in every mode, each
    once; `live` a line that the next one replaces, `settle` ends it; `waiting` says that the flag store does not answer
    and counts down (`left` in seconds); `document` is the one JSON document; `raw` is text that is the answer itself (a
    table, an export), written as it is. `is_terminal` is True where somebody looks at a live line. `columns` is how
    wide the terminal is that tables are for; None where they go elsewhere.
    """

    as_json: bool
    is_terminal: bool
    columns: int | None

    def line(self, text: str, *, fg: str | None = None, bold: bool = False) -> None: ...
    def warn(self, text: str) -> None: ...
    def live(self, text: str) -> None: ...
    def settle(self) -> None: ...
    def waiting(self, left: float, error: Exception) -> None: ...
    def document(self, document: Mapping[str, Any]) -> None: ...
    def raw(self, text: str) -> None: ...


class Progress(Protocol):
    """What a person sees of a return. Never raises. Rates are samples per second, times are seconds."""

    def say(self, text: str) -> None: ...
    def watching(self, judgement: Judgement, *, time_left: float) -> None: ...
    def evidence(
        self, title: str, judgement: Judgement, *, rate: float, soak_left: float, time_left: float
    ) -> None: ...
