"""Counting commits in SQLite's write-ahead log, from outside."""

from __future__ import annotations

import struct
from pathlib import Path


def commits(database: Path) -> int:
    """How many transactions the log holds: frames that end one have the size of the database in their header.

    The log must not have been begun anew since it was made. Source: sqlite.org/fileformat2.html, 4.1 and 4.2.
    """
    data = Path(f"{database}-wal").read_bytes()
    page_size = struct.unpack_from(">I", data, 8)[0]
    salt = data[16:24]
    ends = 0
    for start in range(32, len(data) - 24 - page_size + 1, 24 + page_size):
        if data[start + 8 : start + 16] == salt and struct.unpack_from(">I", data, start + 4)[0] > 0:
            ends += 1
    return ends
