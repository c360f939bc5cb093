"""The head record: the ends of all chains in a file beside the database.

A chain alone cannot show that its end was cut off; a head that is kept elsewhere can. This module imports the
standard library only, because the marker of a kill carries a head.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypedDict


class HeadRecord(TypedDict):
    """The end of one chain: how many entries, the hash of the last, and which chain of the feature it is (from 1)."""

    sequence: int
    hash: str
    chain: int


def heads_path(database: str) -> str:
    """Where the head record of a database is."""
    return f"{database}.head"


def read_heads(database: str) -> dict[str, HeadRecord]:
    """Feature to the recorded end of its chain; empty when there is no record.

    Raises `OSError` when it cannot be read and `ValueError` when it is not a head record.
    """
    try:
        with open(heads_path(database), encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict) or not isinstance(document.get("heads"), dict):
        raise ValueError("it is not a head record")
    return {str(feature): _head(value) for feature, value in document["heads"].items()}


def write_heads(database: str, heads: Mapping[str, HeadRecord]) -> None:
    """Replaces the record as a whole, with the database's permissions. Raises `OSError`."""
    path = heads_path(database)
    fresh = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    text = json.dumps({"format": 1, "heads": heads}, indent=1, sort_keys=True) + "\n"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            os.fchmod(fd, stat.S_IMODE(os.stat(database).st_mode))
            stream.write(text)
            stream.flush()
            os.fsync(fd)
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _head(value: Any) -> HeadRecord:
    if not isinstance(value, dict):
        raise ValueError("a head is not an object")
    sequence, digest, chain = value.get("sequence"), value.get("hash"), value.get("chain", 1)
    if not isinstance(sequence, int) or not isinstance(chain, int) or not isinstance(digest, str):
        raise ValueError("a head lacks its sequence or its hash")
    return {"sequence": sequence, "hash": digest, "chain": chain}
