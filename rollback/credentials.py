"""Secrets that the service manager passes on as files (systemd's `LoadCredential=`, systemd.exec(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from rollback.errors import ConfigurationError

FOLDER = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 64 * 1024

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def with_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, and for each file of the credentials' folder that is called like a variable its content.

    A variable that is set wins; one line break at a file's end is not part of the secret. Without the folder the
    environment alone. Raises `ConfigurationError` for a credential that cannot be read: a source whose secret is
    there and unreadable must not look like one that was never set up.
    """
    folder = environ.get(FOLDER, "")
    found = dict(environ)
    if not folder:
        return found
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(folder, error.strerror or type(error).__name__) from None
    for name in names:
        if _NAME.fullmatch(name) and not environ.get(name):
            found[name] = _content(os.path.join(folder, name))
    return found


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise _unreadable(path, f"it is larger than {MAX_BYTES} bytes")
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is no text in UTF-8") from None


def _unreadable(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The credential {path} cannot be read: {why}.", next="Look at LoadCredential= in the unit that starts this."
    )
