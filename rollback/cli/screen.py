"""What people read: lines, a live line and colour on a terminal alone, or one JSON document. Kill path."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from rollback.words import clean, span


class Screen:
    """Lines for people on standard output, or one JSON document; progress and warnings go to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stderr.isatty() and not as_json
        self.columns = _columns() if sys.stdout.isatty() else None
        self._live = False
        self._waits = False
        self._warned: set[str] = set()

    def line(self, text: str, *, fg: str | None = None, bold: bool = False) -> None:
        """A line for people; nothing when the answer is JSON."""
        if self.as_json:
            return
        self.settle()
        click.echo(click.style(clean(text), fg=fg, bold=bold) if fg or bold else clean(text))

    def warn(self, text: str) -> None:
        """A warning, on standard error in every mode; the same one is said once."""
        if text in self._warned:
            return
        self._warned.add(text)
        self.settle()
        click.echo(click.style(f"warning: {clean(text)}", fg="yellow"), err=True)

    def live(self, text: str) -> None:
        """A line that the next one replaces; on a terminal alone."""
        if self.is_terminal:
            width = max(20, _columns() - 1)
            sys.stderr.write(f"\r\x1b[2K{clean(text)[:width]}")
            sys.stderr.flush()
            self._live = True

    def waiting(self, left: float, error: Exception) -> None:
        """The flag store does not answer: said once, then counted down on a terminal. `left` in seconds."""
        if not self._waits:
            self._waits = True
            self.warn(f"{getattr(error, 'message', error)} Trying for another {span(left)}.")
        self.live(f"The flag store does not answer; trying for another {span(left)}")

    def settle(self) -> None:
        """Ends a live line, so that the next line stands by itself."""
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._live = False

    def raw(self, text: str) -> None:
        """Text that is the answer itself: an export, a runbook, a table."""
        self.settle()
        click.echo(text, nl=False)

    def document(self, document: Mapping[str, Any]) -> None:
        """The one JSON document of `--json`."""
        self.settle()
        click.echo(json.dumps(document, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
