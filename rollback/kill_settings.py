"""The settings as `disable` reads them, and the rules for each value that `rollback.settings` shares.

Settings come from the environment (`ROLLBACK_…`; a `.env` file fills what it lacks), nothing else.
Kill path: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rollback.environment import lookup, read_dotenv
from rollback.errors import ConfigurationError

PREFIX = "ROLLBACK_"
MAX_TIMEOUT_SECONDS = 600.0
NEXT = "Correct it in the environment or in the .env file."

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})
_TOKENS = ("flipt_token", "flipt_token_file", "flipt_token_command")
_SERVER_TOKENS = ("token", "token_file", "token_command")
_NOT_FOR_OFF = frozenset({"flipt_api", "flipt_timeout", "ledger", "auto", "server", "token", "state"})


@dataclass(frozen=True, slots=True, eq=False)
class KillSettings:
    """The settings. `rollback.settings.Settings` documents each one.

    `problems` are sentences about settings that were wrong and for which the default was taken instead;
    only a reader that was asked to forgive fills it.
    """

    policies: str = "policies"
    flipt_url: str = "file:features.yml"
    flipt_token: str | None = field(default=None, repr=False)
    flipt_token_file: str | None = None
    flipt_token_command: str | None = field(default=None, repr=False)
    flipt_api: str = "auto"
    flipt_ca: str | None = None
    flipt_cert: str | None = None
    flipt_key: str | None = None
    flipt_timeout: float = 5.0
    ledger: str = field(default="sqlite:///rollback.db", repr=False)
    journal: str = "rollback.journal"
    actor: str | None = None
    auto: bool = True
    server: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    token_command: str | None = field(default=None, repr=False)
    state: str = "rollback.state.db"
    problems: tuple[str, ...] = ()

    @property
    def flag_urls(self) -> tuple[str, ...]:
        """The addresses in `flipt_url`, in order, each once: a `file:` can only be the first."""
        return split_urls(self.flipt_url)


def read_settings(environ: Mapping[str, str], dotenv_path: str = ".env", *, forgiving: bool = False) -> KillSettings:
    """The settings from `environ` and, where it has no value, from the file at `dotenv_path`.

    Raises `ConfigurationError` with one sentence that names every setting that is wrong. `forgiving` is for
    turning off, which no setting may refuse that it does not need: there a wrong value of such a setting
    becomes a sentence in `problems`, and its default is taken. An address, token or certificate that is wrong
    is still an error, since another store would be asked.
    """
    values = lookup(environ, read_dotenv(dotenv_path, environ))
    found: dict[str, Any] = {}
    wrong: list[str] = []
    problems: list[str] = []
    for name in NAMES:
        text = values.get(PREFIX + name.upper())
        if text is None:
            continue
        try:
            found[name] = read_value(name, text)
        except ValueError as error:
            (problems if forgiving and name in _NOT_FOR_OFF else wrong).append(str(error))
    if not wrong:
        wrong.extend(conflicts(found))
        (problems if forgiving else wrong).extend(server_conflicts(found))
    if wrong:
        raise ConfigurationError("; ".join(wrong), next=NEXT)
    return KillSettings(**found, problems=tuple(problems))


def read_value(name: str, text: str) -> Any:
    """The value that the setting `name` (a field's name) has when its text is `text`.

    Raises ValueError with a sentence that names the variable. It repeats the text only where nobody would put
    a secret.
    """
    text = text.strip()
    reader = _READERS.get(name)
    if reader is None:
        return text
    try:
        return reader(text)
    except ValueError as error:
        raise ValueError(f"{PREFIX}{name.upper()} {error}") from None


def conflicts(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings that are right one by one, as sentences. None counts as not given."""
    wrong = _more_than_one(_TOKENS, values)
    if values.get("flipt_key") is not None and values.get("flipt_cert") is None:
        wrong.append("ROLLBACK_FLIPT_KEY is given without ROLLBACK_FLIPT_CERT")
    return wrong


def server_conflicts(values: Mapping[str, Any]) -> list[str]:
    """The same for the settings that name the server; turning off on the flag store itself needs none of them."""
    return _more_than_one(_SERVER_TOKENS, values)


def _more_than_one(names: tuple[str, ...], values: Mapping[str, Any]) -> list[str]:
    given = [PREFIX + name.upper() for name in names if values.get(name) is not None]
    return [f"{' and '.join(given)} are given, and only one of them may be"] if len(given) > 1 else []


def split_urls(text: str) -> tuple[str, ...]:
    """The addresses of `ROLLBACK_FLIPT_URL`, each once, without a slash at the end.

    Several `http(s)` addresses are replicas of one store; behind a `file:` they are the servers that serve it.
    Raises ValueError saying what is wrong, never repeating an address that holds a password.
    """
    urls = tuple(dict.fromkeys(_url(part.strip()) for part in text.split(",") if part.strip()))
    if not urls:
        raise ValueError("has no address")
    if any(url.startswith("file:") for url in urls[1:]):
        raise ValueError("may have a file: only as its first address: the others are servers that serve it")
    return urls


def _url(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "file" and colon:
        if not rest.strip("/"):
            raise ValueError("has a file: without a path")
        return f"file:{rest}"
    if scheme not in {"http", "https"}:
        raise ValueError("must be https://…, http://… or file:…")
    authority, slash, path = rest.removeprefix("//").partition("/")
    if "@" in authority:
        raise ValueError("must not hold a user or password: the token goes in ROLLBACK_FLIPT_TOKEN_FILE")
    if re.search(r"[?#\s]", rest):
        raise ValueError("must not have a query, a fragment or a space")
    host_and_port = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
    if not rest.startswith("//") or not re.fullmatch(host_and_port, authority):
        raise ValueError("has an address without a proper host: it must look like https://flipt.example.org")
    return f"{scheme}://{authority}{slash}{path}".rstrip("/")


def _server(text: str) -> str:
    """`https`, or `http` to this very machine: a token never travels in the clear."""
    url = _url(text)
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    host = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
    is_here = host.lower() in {"localhost", "[::1]"} or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host)
    if scheme != "https" and not (scheme == "http" and is_here):
        raise ValueError("must be https://… (http:// only for this very machine, e.g. http://127.0.0.1:8080)")
    return url


def _urls(text: str) -> str:
    return ",".join(split_urls(text))


def _token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("has characters that a token cannot have (only printable ASCII without spaces)")
    return text


def _api(text: str) -> str:
    if text.lower() not in {"auto", "v1", "v2"}:
        raise ValueError(f"must be auto, v1 or v2, not {text[:20]!r}")
    return text.lower()


def _timeout(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text) or not 0 < float(text) <= MAX_TIMEOUT_SECONDS:
        raise ValueError(f"must be seconds, above 0 and up to {MAX_TIMEOUT_SECONDS:g}, not {text[:20]!r}")
    return float(text)


def _ledger(text: str) -> str:
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ValueError("must be a database address such as sqlite:///rollback.db")
    return text


def _on_or_off(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError(f"must be on or off, not {text[:20]!r}")
    return text.lower() in _TRUE


_READERS: Mapping[str, Callable[[str], Any]] = {
    "flipt_url": _urls,
    "flipt_token": _token,
    "flipt_api": _api,
    "flipt_timeout": _timeout,
    "ledger": _ledger,
    "auto": _on_or_off,
    "server": _server,
    "token": _token,
}

NAMES: tuple[str, ...] = tuple(item.name for item in fields(KillSettings) if item.name != "problems")
"""The settings' names in the documentation's order; the variable is `ROLLBACK_` and the name in capitals."""
