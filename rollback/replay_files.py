"""Reads recorded incidents: an export of the ledger, CSV, or JSON lines. Strict: nothing is guessed.

Which it is shows in the first character: `[` is `rollback history FEATURE --json`, `{` JSON lines, anything else CSV
with a header. Rows may be in any order. Each row that is wrong is told with its line, and then nothing is replayed: a
recording with holes that nobody sees would look like a calm incident. `docs/replay.md` has the columns.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollback.codec import VERSION, entry_from_json
from rollback.core.history import Entry
from rollback.core.replay_ledger import recording_of
from rollback.core.replay_recording import Recording
from rollback.core.replay_rows import COLUMNS, RowError, recording_of_rows
from rollback.errors import ConfigurationError
from rollback.redaction import redact

MAX_BYTES = 64 * 1024 * 1024
"""A day of probes once a second takes a tenth of it."""

TOLD = 20
"""Errors that are told at once."""

HEAD = 2_000
"""Characters in which an export that is one object names its entries."""

DOCS = "the columns are in docs/replay.md"


def read_recording(path: Path, feature: str) -> Recording:
    """The recording in a file. Raises `ConfigurationError` with every line that is wrong, `TOLD` of them at most."""
    text = _text(path)
    match text.lstrip()[:1]:
        case "":
            raise ConfigurationError(f"{path}: the file is empty", next=DOCS)
        case "[":
            recording = _ledger(path, text, feature)
        case "{" if '"entries"' in text[:HEAD]:
            recording = _ledger(path, text, feature)
        case "{":
            recording = _rows(path, _json_lines(text), feature)
        case _:
            recording = _rows(path, _csv(path, text), feature)
    if not recording.items and not recording.done:
        known = f"{path}: nothing in it is about {feature}"
        raise ConfigurationError(known, next="Name the feature whose incident it is, by its key.")
    return recording


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigurationError(
                f"{path}: the file is larger than {MAX_BYTES} bytes", next="Cut the time it covers."
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        where = f"{path}: this is not UTF-8 (byte {error.start})"
        raise ConfigurationError(where, next="Save it as UTF-8.") from error


# -- the ledger's export ----------------------------------------------------------------------------------------------


def _ledger(path: Path, text: str, feature: str) -> Recording:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: this is not JSON: {_short(error)}", next=DOCS) from error
    if isinstance(rows, dict):
        rows = rows.get("entries")
    if not isinstance(rows, list):
        raise ConfigurationError(f"{path}: this is no list of entries", next=DOCS)
    entries, wrong = [], []
    for number, row in enumerate(rows, 1):
        try:
            entries.append(_entry(row))
        except (KeyError, TypeError, ValueError) as error:
            wrong.append(f"{path}: entry {number}: {_short(error)}")
    _raise_wrong(wrong, "Export it again: rollback history FEATURE --json")
    try:
        return recording_of(entries, feature)
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: {_short(error)}", next="rollback verify says whether it is whole."
        ) from error


def _entry(row: Any) -> Entry:
    """An entry from a row of the export; its place in the chain does not matter here."""
    if not isinstance(row, Mapping):
        raise ValueError("it is no object; is this an export of the ledger?")
    told = {name: row[name] for name in ("entry_id", "at", "feature", "kind", "name", "reason", "incident", "epoch")}
    told |= {name: row[name] for name in ("key", "before", "after", "data")}
    actor = {"name": row["actor"], "authenticated": row["authenticated"]}
    return entry_from_json({"v": VERSION, "actor": actor, **told})


# -- rows -------------------------------------------------------------------------------------------------------------


def _rows(path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]], feature: str) -> Recording:
    def clean(text: str) -> str:
        return redact(text, 300)

    try:
        return recording_of_rows(rows, feature, clean)
    except RowError as error:
        _raise_wrong([f"{path}:{line}: {what}" for line, what in error.wrong], DOCS)
        raise AssertionError("a row error names its lines") from error  # pragma: no cover


def _csv(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for row in reader:
            if not row or not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
                continue
            if not header:
                header = _header(path, row, reader.line_num)
            elif len(row) > len(header):
                yield reader.line_num, {"": f"it has {len(row)} cells, and the header {len(header)}"}
            else:
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in row), strict=False))
    except csv.Error as error:
        raise ConfigurationError(f"{path}:{reader.line_num}: this is not CSV: {error}", next=DOCS) from error


def _header(path: Path, row: list[str], line: int) -> list[str]:
    names = [cell.strip().casefold() for cell in row]
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name in ("at", "kind") if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if unknown or missing or twice:
        said = [f"there is no column {name[:40]!r}" for name in unknown]
        said += [f"the column {name} is missing" for name in missing]
        said += [f"the column {name} is there twice" for name in twice]
        raise ConfigurationError(f"{path}:{line}: {'; '.join(said)}", next=f"known: {', '.join(COLUMNS)}")
    return names


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip():
            continue
        try:
            found = json.loads(row)
        except (ValueError, RecursionError) as error:
            yield line, {"": f"this is not JSON: {_short(error)}"}
            continue
        if not isinstance(found, dict):
            yield line, {"": "a line is one object"}
            continue
        unknown = sorted(name for name in found if name not in COLUMNS)
        if unknown:
            yield line, {"": f"there is no column {unknown[0][:40]!r}; known: {', '.join(COLUMNS)}"}
            continue
        yield line, found


def _raise_wrong(wrong: list[str], hint: str) -> None:
    if wrong:
        more = [f"… and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
        raise ConfigurationError("\n".join([*wrong[:TOLD], *more]), next=hint)


def _short(error: Exception) -> str:
    return redact(" ".join(str(error).split()), 200)
