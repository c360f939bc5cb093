"""Ledgers: the append-only history, one hash chain per feature."""
