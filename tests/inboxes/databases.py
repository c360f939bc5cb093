"""State databases that are locked by another process, or damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HOLDER = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    "for part in sys.argv[2].split(';'): c.execute(part).fetchall()\n"
    "print('held', flush=True); sys.stdin.read()"
)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of this code, which talks over its standard input and output."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@contextmanager
def held_by_another_process(path: Path, statement: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Another process has the database open, and has executed the statement."""
    with start(_HOLDER, path, statement) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def damage(path: Path, how: str) -> bytes:
    """Damages the closed database, and returns the bytes that it has then."""
    if how == "not a database":
        overwrite(path, 0, b"\0" * 100)
    elif how == "every page":
        for page in range(1, path.stat().st_size // 4096):
            overwrite(path, page * 4096, b"\xff" * 4096)
    else:
        os.truncate(path, 4096 * 2)
    return path.read_bytes()
