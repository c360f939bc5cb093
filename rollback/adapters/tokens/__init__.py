"""Tokens of the interface for programs, hashed at rest."""
