"""A folder with a history, and what it said."""

from __future__ import annotations

from pathlib import Path

from rollback.history import History
from rollback.journal import Journal


class Place:
    """A folder with a history, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.fallen: list[str] = []
        self.journal = folder / "rollback.journal"
        self.database = folder / "rollback.db"

    def history(self, journal: Journal | None = None, *, url: str = "", patience: float = 5.0) -> History:
        return History(
            self.journal,
            url or f"sqlite:///{self.database}",
            self.said.append,
            journal=journal,
            patience=patience,
            fallback=self.fallen.append,
        )

    def without_database(self) -> None:
        for path in self.folder.glob("rollback.db*"):
            if path.suffix != ".head":
                path.unlink()


def ids(history: History, feature: str | None = None) -> list[str]:
    return [entry.entry_id for entry in history.entries(feature).entries]


def broken(path: Path) -> Journal:
    def sync(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    return Journal(path, sync=sync)
