"""The history as JSON, CSV and Markdown. What people wrote stays text: it breaks no table and starts no formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollback.adapters.ledgers.canonical import LedgerRow
from rollback.codec import entry_to_json
from rollback.core.history import Entry

COLUMNS = (
    *("sequence", "at", "feature", "incident", "epoch", "kind", "name", "actor", "authenticated", "reason", "key"),
    *("before", "after", "data", "entry_id", "hash", "previous"),
)
_MARKDOWN_COLUMNS = ("sequence", "at", "feature", "incident", "kind", "name", "actor", "reason", "hash")
_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
# GitHub makes links out of bare addresses, @names and #numbers; nobody shall be led or called anywhere by a reason.
_MARKDOWN = str.maketrans(
    {letter: f"&#{ord(letter)};" for letter in "<>&`|\\"}
    | {letter: f"\\{letter}" for letter in "*_[]~!"}
    | {letter: f"{letter}&#8203;" for letter in "@#"}
)


def plain_rows(history: Iterable[LedgerRow | Entry]) -> list[dict[str, Any]]:
    """One dict per entry with the keys of `COLUMNS`.

    For an entry that is not in the ledger yet `sequence` is None and `hash` and `previous` are empty. `actor` is the
    name, `authenticated` how it is known, empty for a claimed one. Raises `ValueError` for a row that holds no entry.
    """
    return [_plain(item) for item in history]


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """A JSON array with one object per row."""
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """RFC 4180, with a header; `before`, `after` and `data` as JSON.

    Text that a spreadsheet would take for a formula gets a leading apostrophe (OWASP, "CSV Injection").
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return out.getvalue()


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A GitHub-flavoured table of the columns that people read, hashes cut to 12 digits."""
    lines = ["| " + " | ".join(_MARKDOWN_COLUMNS) + " |", "|" + " --- |" * len(_MARKDOWN_COLUMNS)]
    for row in rows:
        short = {**row, "hash": row["hash"][:12]}
        lines.append("| " + " | ".join(_markdown(short[name]) for name in _MARKDOWN_COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def _plain(item: LedgerRow | Entry) -> dict[str, Any]:
    entry, row = (item, None) if isinstance(item, Entry) else (item.entry, item)
    values = entry_to_json(entry)
    values["actor"], values["authenticated"] = entry.actor.name, entry.actor.authenticated
    values["sequence"] = row.sequence if row else None
    values["hash"] = row.hash if row else ""
    values["previous"] = row.previous if row else ""
    return {name: values[name] for name in COLUMNS}


def _cell(value: object) -> str | int | None:
    if value is None or isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Spreadsheets skip blanks in front of the sign; a tab or a line break in front starts a new cell for some.
    return f"'{text}" if text[:1] in ("\t", "\r", "\n") or text.lstrip()[:1] in tuple(_FORMULA) else text


def _markdown(value: object) -> str:
    if value is None:
        return ""
    text = " ".join(str(value).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return text.translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")
