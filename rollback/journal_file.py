"""What a journal file looks like, and what can be read out of its bytes. Kill path: standard library only.

Each record is one line: compact ASCII JSON whose last field is the CRC-32 of the line without that field. A record
is an entry (it has `v`), the header (`journal`, first line) or a checkpoint (`checkpoint` and `heads`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from rollback.codec import VERSION, entry_from_json
from rollback.core.history import Entry, EntryKind

_CRC_LENGTH = len(',"crc":"00000000"}')
_TAIL = 256
_TRANSITION = b'"kind":"transition"'
_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Position(NamedTuple):
    """How far a journal has been fed. `tail` is the CRC-32 of up to 256 bytes before `offset`."""

    journal_id: str
    offset: int
    tail: int


_NOWHERE = Position("", 0, 0)
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class JournalRead(NamedTuple):  # a dataclass takes a millisecond more to be made, and a kill waits for it
    """What a journal holds from an offset on.

    `end_offset` is where the next reading starts: a last line without its line feed may still be being written, so
    it stays unread. `damaged` has one text for each line that was given up. `checkpoint` (feature to its newest
    image) and `heads` (feature to the `sequence` and `hash` of its chain) come from the file's checkpoint, empty
    without one. `newer` is true when reading stopped at a record of a newer program. `restarted` is true when the
    file was not the one that the offset belonged to, and all of it was read. A file that is not there has the
    `journal_id` "".
    """

    entries: tuple[Entry, ...] = ()
    end_offset: int = 0
    damaged: tuple[str, ...] = ()
    journal_id: str = ""
    checkpoint: Mapping[str, Entry] = _EMPTY
    heads: Mapping[str, Mapping[str, Any]] = _EMPTY
    position: Position = _NOWHERE
    newer: bool = False
    restarted: bool = False


def newest_transition(transitions: Iterable[Entry]) -> Entry | None:
    """The image that stands, of one feature's transitions in the order of writing; `None` without any.

    Of each incident only the highest epoch counts: an image that an older epoch wrote later is history only.
    """
    standing: dict[str | None, tuple[int, Entry]] = {}
    for order, entry in enumerate(transitions):
        held = standing.get(entry.incident)
        if held is None or entry.epoch >= held[1].epoch:
            standing[entry.incident] = (order, entry)
    return max(standing.values(), key=lambda pair: pair[0])[1] if standing else None


class JournalFile:
    """The bytes of one journal file, and what can be read out of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.journal_id, self.previous = _identity(data)

    def since(self, position: Position | None = None, *, final: bool = False) -> JournalRead:
        """The entries from `position` on, or all. With `final` nobody writes any more: a torn last line is damage."""
        restarted = position is not None and (
            position.offset > len(self._data) or position != self.position(position.offset)
        )
        start = 0 if position is None or restarted or not self.journal_id else position.offset
        entries: list[Entry] = []
        damaged: list[str] = []
        newer = False
        for begin, line, end in self._lines(start, final=final):
            try:
                record = record_from_line(line) if line else {}
                version = record.get("v")
                newer = isinstance(version, int) and version > VERSION
                if newer:
                    break
                if "v" in record:
                    entries.append(entry_from_json(record))
            except (ValueError, RecursionError) as error:
                damaged.append(f"byte {begin}: {error}")
            start = end
        checkpoint = self.checkpoint_record() or {}
        return JournalRead(
            entries=tuple(entries),
            end_offset=start,
            damaged=tuple(damaged),
            journal_id=self.journal_id,
            checkpoint=images_of(checkpoint),
            heads=checkpoint.get("heads", {}),
            position=self.position(start),
            newer=newer,
            restarted=restarted,
        )

    def _lines(self, start: int, *, final: bool) -> Iterator[tuple[int, bytes, int]]:
        """Offset, content and the offset behind it, for each line; nothing of a file that is not known yet."""
        data = self._data
        while start < len(data) and self.journal_id:
            feed = data.find(b"\n", start)
            if feed < 0 and not final:
                return
            end = feed + 1 if feed >= 0 else len(data)
            yield start, data[start:end].rstrip(b"\n"), end
            start = end

    def transitions(self, feature: str | None = None) -> Iterator[Entry]:
        """The transitions in the order of writing, without the checkpoint. Parses only lines that may be one."""
        found = self._data.find(_TRANSITION)
        while found >= 0:
            entry, _, end = self._transition_at(found, feature)
            if entry:
                yield entry
            found = self._data.find(_TRANSITION, end)

    def last_transition(self, feature: str) -> Entry | None:
        """The feature's last transition, `None` without one. Parses from the end."""
        found = self._data.rfind(_TRANSITION)
        while found >= 0:
            entry, begin, _ = self._transition_at(found, feature)
            if entry:
                return entry
            found = self._data.rfind(_TRANSITION, 0, begin)
        return None

    def highest_epoch(self, incident: str | None) -> int:
        """No entry of the case has a higher epoch; 0 without entries. Relies on the order in which codec writes."""
        mark = re.escape(b'"incident":' + json.dumps(incident).encode() + b',"epoch":')
        return max(map(int, set(re.findall(mark + rb"(\d+)", self._data))), default=0)

    def _transition_at(self, found: int, feature: str | None) -> tuple[Entry | None, int, int]:
        """The transition in the line around `found`, `None` if it is none of the feature; where the line is."""
        begin, end = self._data.rfind(b"\n", 0, found) + 1, self._data.find(b"\n", found)
        if end < 0:  # still being written
            return None, begin, len(self._data)
        line = self._data[begin:end]
        wanted = b"" if feature is None else b'"feature":' + json.dumps(feature).encode()
        if wanted in line and not line.startswith(b'{"checkpoint":'):
            with suppress(ValueError, RecursionError):
                entry = entry_from_json(record_from_line(line))
                if entry.kind is EntryKind.TRANSITION and feature in (None, entry.feature):
                    return entry, begin, end
        return None, begin, end

    def checkpoint_record(self) -> Mapping[str, Any] | None:
        """The file's first whole checkpoint, `None` without one."""
        found = self._data.find(b'\n{"checkpoint":')
        while found >= 0:
            end = self._data.find(b"\n", found + 1)
            try:
                return record_from_line(self._data[found + 1 : end])
            except ValueError:
                found = self._data.find(b'\n{"checkpoint":', found + 1)
        return None

    def position(self, offset: int) -> Position:
        """The position that stands for `offset` in these bytes."""
        tail = self._data[max(0, offset - _TAIL) : offset] if offset <= len(self._data) else b""
        return Position(self.journal_id, offset, crc32(tail))


def record_to_line(record: Mapping[str, Any]) -> bytes:
    """The record's line without line feeds. `record` must be valid JSON already."""
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")
    return b'%s,"crc":"%08x"}' % (body[:-1], crc32(body))


def record_from_line(line: bytes) -> dict[str, Any]:
    """The record without its checksum. Raises `ValueError` for anything that was not written whole."""
    body = line[:-_CRC_LENGTH] + b"}"
    if line[-_CRC_LENGTH:] != b',"crc":"%08x"}' % crc32(body):
        raise ValueError("torn or changed, its checksum does not fit")
    record = json.loads(body)
    if not isinstance(record, dict):
        raise ValueError("not a record")
    return record


def _identity(data: bytes) -> tuple[str, str]:
    """The journal's id and that of the one it replaced. A file without a sound header is known by its first line."""
    first = data.lstrip(b"\n").partition(b"\n")
    try:
        header = record_from_line(first[0])
        names = [str(header["journal"]), str(header.get("previous", ""))]
        if names[0] and all(set(name) <= _ID_LETTERS for name in names):
            return names[0], names[1]
    except (ValueError, KeyError):
        pass
    return (f"headless-{crc32(first[0]):08x}" if first[1] else ""), ""


def images_of(record: Mapping[str, Any]) -> dict[str, Entry]:
    """The images in a checkpoint by feature; one that this program does not understand is left out."""
    images: dict[str, Entry] = {}
    for feature, value in record.get("checkpoint", {}).items():
        try:
            images[feature] = entry_from_json(value)
        except ValueError:
            continue
    return images
