"""Tables as text, for whoever prints them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 200
"""Columns where nobody looks at a terminal: whatever reads it can cut by itself."""


def rendered(table: Table, columns: int | None) -> str:
    """The table as text, `columns` wide and with colour; None: for a pipe, wide and plain."""
    from rich.console import Console

    written = io.StringIO()
    is_seen = columns is not None
    Console(
        file=written,
        width=columns or WIDE,
        force_terminal=is_seen,
        color_system="standard" if is_seen else None,
        highlight=False,
    ).print(table)
    return written.getvalue()
