"""What people read: times with date and zone, one line for the world, colour on a terminal alone. Kill path."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def when(moment: datetime) -> str:
    """A time with weekday, date and zone of this machine, and in UTC: nobody has to guess which midnight."""
    local = moment.astimezone()
    text = f"{local:%a %Y-%m-%d %H:%M:%S %Z}"
    return text if local.utcoffset() == timedelta(0) else f"{text} ({moment.astimezone(UTC):%H:%M:%S} UTC)"


def span(seconds: float) -> str:
    """`45 s`, `2 min 5 s`, `3 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clean(text: str) -> str:
    """Text from outside without control characters, so that it cannot move the cursor, fake a line or turn it round."""
    return _CONTROL.sub("?", text).replace("\n", " ")


def world_line(world: Mapping[str, str]) -> str:
    """The first line of every output (invariant 4)."""
    return clean(
        f"{world['store']} · environment {world['environment']} · namespace {world['namespace']} · flag {world['flag']}"
    )


class Screen:
    """Lines for people on standard output, or one JSON document; progress and warnings go to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stderr.isatty() and not as_json
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
