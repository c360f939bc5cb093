"""Where the ledger's database is, out of the setting's URL."""

from __future__ import annotations

import os

from rollback.errors import ConfigurationError


def database_path(url_or_path: str | os.PathLike[str]) -> str:
    """The absolute path of `sqlite:///relative.db` or `sqlite:////absolute.db`; a plain path is taken as it is.

    Raises `ConfigurationError` for anything else. Its text names the scheme only: other URLs may hold a password.
    """
    text = os.fspath(url_or_path)
    scheme, separator, rest = text.partition(":")
    if not separator or "/" in scheme or os.path.isabs(text):
        path = text
    elif scheme != "sqlite":
        raise ConfigurationError(
            f"ROLLBACK_LEDGER has the scheme {scheme!r:.30}, but only sqlite is built in so far",
            next="set it to sqlite:///rollback.db, or sqlite:////var/lib/rollback/rollback.db",
        )
    elif not rest.startswith("///"):
        raise ConfigurationError(
            "ROLLBACK_LEDGER needs three slashes after sqlite: and a fourth for an absolute path",
            next="set it to sqlite:///rollback.db, or sqlite:////var/lib/rollback/rollback.db",
        )
    else:
        path = rest.removeprefix("///")
    if not path or path.endswith("/") or os.path.basename(path) == ":memory:":
        raise ConfigurationError("ROLLBACK_LEDGER names no file: the history must be kept on a disk")
    return os.path.realpath(path)
