"""The inbox's tables in numbered steps. A step that was released is never changed; a new one is added."""

from __future__ import annotations

COMPONENT = "inbox"

_FIRST = (
    # A forgotten delivery has an empty body: its key stays, so that it is still known when it is sent again.
    """
    CREATE TABLE deliveries (
      number INTEGER PRIMARY KEY AUTOINCREMENT,
      source TEXT NOT NULL,
      key TEXT NOT NULL,
      received_at TEXT NOT NULL,
      kind TEXT NOT NULL,
      body TEXT NOT NULL,
      attempts INTEGER NOT NULL DEFAULT 0,
      ended_at TEXT,
      is_set_aside INTEGER NOT NULL DEFAULT 0,
      outcome TEXT NOT NULL DEFAULT '',
      UNIQUE (source, key)
    )
    """,
    "CREATE INDEX deliveries_pending ON deliveries (number) WHERE ended_at IS NULL",
    "CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL",
    """
    CREATE TABLE cycles (
      source TEXT NOT NULL,
      monitor TEXT NOT NULL,
      cycle TEXT NOT NULL,
      fired_at TEXT,
      recovered_at TEXT,
      decided TEXT NOT NULL DEFAULT '{}',
      touched_at TEXT NOT NULL,
      PRIMARY KEY (source, monitor, cycle)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX cycles_firing ON cycles (source, monitor, cycle)
    WHERE fired_at IS NOT NULL AND (recovered_at IS NULL OR fired_at > recovered_at)
    """,
    "CREATE TABLE places (feature TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
