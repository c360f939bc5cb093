"""Programs that some tests need and not every machine has."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest


def require_program(name: str) -> str:
    """The path of the program `name`.

    Where it is missing the calling test is skipped and says so. With ROLLBACK_CI_REQUIRE set (and not
    empty) it fails instead, so that a machine that is meant to run everything cannot quietly run less.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"needs the program {name!r}, which is not on PATH"
    if os.environ.get("ROLLBACK_CI_REQUIRE"):
        pytest.fail(f"{reason}; ROLLBACK_CI_REQUIRE forbids to skip")
    pytest.skip(reason)


def require_module(name: str) -> None:
    """Skips the calling test, or fails it, as `require_program` does, when the Python package `name` is missing."""
    if importlib.util.find_spec(name) is not None:
        return
    reason = f"needs the Python package {name!r}, which is not installed"
    if os.environ.get("ROLLBACK_CI_REQUIRE"):
        pytest.fail(f"{reason}; ROLLBACK_CI_REQUIRE forbids to skip")
    pytest.skip(reason)
