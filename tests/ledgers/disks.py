"""Small and read-only disks, made with tmpfs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.requires import require_program


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Path]:
    """A file system of that size at `folder`. Skips where it cannot be mounted; fails with ROLLBACK_CI_REQUIRE."""
    mount, unmount = require_program("mount"), require_program("umount")
    folder.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        reason = f"needs to mount a tmpfs (user {os.geteuid()}): {done.stderr.strip()}"
        if os.environ.get("ROLLBACK_CI_REQUIRE"):
            pytest.fail(f"{reason}; ROLLBACK_CI_REQUIRE forbids to skip")
        pytest.skip(reason)
    try:
        yield folder
    finally:
        if subprocess.run([unmount, folder], capture_output=True, check=False).returncode != 0:
            subprocess.run([unmount, "-l", folder], capture_output=True, check=True)
            pytest.fail(f"{folder} was still in use: a file was left open")


def make_read_only(folder: Path) -> None:
    """The mounted file system takes no more writes, of root neither."""
    subprocess.run([require_program("mount"), "-o", "remount,ro", folder], capture_output=True, check=True)


def fill(folder: Path) -> None:
    """Writes until not one byte more goes to the disk."""
    fd = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (65536, 4096, 1):
            try:
                while os.write(fd, b"x" * size):
                    pass
            except OSError:
                continue
    finally:
        os.close(fd)
