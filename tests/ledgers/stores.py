"""Ledgers for tests that leave no connection open."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from rollback.adapters.ledgers.sqlite import SqliteLedger
from rollback.core.history import Entry


def store(path: str | os.PathLike[str] | Path, entries: Iterable[Entry], **options: Any) -> int:
    """Appends to the ledger at `path`, closes it, and returns how many entries were new."""
    with closing(SqliteLedger(path, **options)) as ledger:
        return ledger.append(entries)
