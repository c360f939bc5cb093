"""Environment variables, the `.env` file that fills what they lack, and `${NAME}` in policy files.

The same values serve the settings and the policies. An empty value counts as unset everywhere.
Kill path: standard library only, regular expressions compiled when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rollback.errors import ConfigurationError

_REFERENCE = r"""
    \$ (?: (?P<dollar> \$ )
      | \{ (?P<name> [A-Za-z_][A-Za-z0-9_]* ) (?: :- (?P<default> (?: [^}$] | \$(?!\{) )* ) )? \}
      | (?P<broken> \{ ) )
"""
_QUOTED = r"""[^\S\n]*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Expansion(NamedTuple):
    """A text with its variables filled in.

    `value` is None when a variable without a default is unset; `unset` names those, `defaulted` the ones
    whose default was taken. Both are in order of appearance, each name once. The value may be a secret, so it
    never shows. (A named tuple because the kill path pays for each dataclass.)
    """

    value: str | None
    unset: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Expansion(unset={self.unset!r}, defaulted={self.defaulted!r})"


def lookup(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, str]:
    """The values that count: the environment's, and the `.env` file's where the environment has none.

    Values that are empty, or only whitespace, are left out on both sides.
    """
    merged = {name: value for name, value in dotenv.items() if value.strip()}
    merged.update((name, value) for name, value in environ.items() if value.strip())
    return merged


def expand(text: str, environ: Mapping[str, str]) -> Expansion:
    """Fills in `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign, any other `$` stays as it is.

    `environ` comes from `lookup`. Raises `ConfigurationError` for a `${` that is not one of the two forms,
    also for one inside a default: it would otherwise reach a URL as text.
    """
    unset: dict[str, None] = {}
    defaulted: dict[str, None] = {}

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["broken"]:
            raise ConfigurationError(
                f"'{text[found.start() : found.start() + 40]}' is not ${{NAME}} or ${{NAME:-default}}",
                next="Write $$ for a dollar sign that is meant as one.",
            )
        name, default = found["name"], found["default"]
        value = environ.get(name, "")
        if value.strip():
            return value
        if default is None:
            unset[name] = None
            return ""
        defaulted[name] = None
        return default.replace("$$", "$")

    value = re.sub(_REFERENCE, fill, text, flags=re.VERBOSE)
    return Expansion(None if unset else value, tuple(unset), tuple(defaulted))


def read_dotenv(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `.env` file; empty when there is no such file.

    Raises `ConfigurationError` when the file is there and cannot be read: what it says may name the flag store,
    and another store must not be taken in its place.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return {}
    except OSError as error:
        message = f"The settings file {path} cannot be read: {error.strerror}"
        raise ConfigurationError(message, next="Make it readable, or remove it.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"The settings file {path} is not UTF-8 (line {line})", next="Save it as UTF-8."
        ) from error
    return parse_dotenv(text, environ)


def parse_dotenv(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `.env` file's text, read as python-dotenv reads them.

    Comments, `export`, single and double quotes (values may span lines), escapes inside quotes, and
    `${NAME}`/`${NAME:-default}` from what stands above and from `environ`. A later line wins; a name without `=`
    and a line that is no assignment are passed over.
    """
    values: dict[str, str | None] = {}
    for name, raw in _assignments(text.replace("\r\n", "\n").replace("\r", "\n")):
        values[name] = raw if raw is None else _interpolate(raw, {**environ, **values})
    return {name: value for name, value in values.items() if value is not None}


def _interpolate(value: str, known: Mapping[str, str | None]) -> str:
    """Here, unlike in `expand`, an empty variable is set, and an unset one is empty: python-dotenv's rule."""
    reference = r"\$\{([^}:]*)(?::-([^}]*))?\}"
    return re.sub(reference, lambda found: known.get(found[1], found[2]) or "", value)


def _assignments(text: str) -> Iterator[tuple[str, str | None]]:
    """Each name with its value, None for a name without `=`; lines that are neither are left out."""
    position = 0

    def take(pattern: str) -> str | None:
        nonlocal position
        found = re.compile(pattern, re.DOTALL).match(text, position)
        if found is None:
            return None
        position = found.end()
        return found[0]

    while take(r"\s*") is not None and position < len(text):
        take(r"export[^\S\n]+")
        name = take(r"'[^']+'|(?!['#])[^=#\s]+")
        take(r"[^\S\n]*")
        value = None
        if name and take(r"=") is not None:
            quoted = re.compile(r"[^\S\n]*['\"]").match(text, position)
            value = take(_QUOTED if quoted else r"[^\n]*")
            if value is None:
                name = None  # a quote that is never closed
            else:
                value = _unquoted(value, quoted=quoted is not None)
        if take(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)") is None:
            take(r"[^\n]*\n?")
        elif name is not None:
            yield name[1:-1] if name[0] == "'" else name, value


def _unquoted(source: str, *, quoted: bool) -> str:
    if not quoted:
        return re.sub(r"\s+#.*", "", source).strip()
    source = source.strip()
    escapable = r"\\([\\'])" if source[0] == "'" else r"\\([\\'\"abfnrtv])"
    return re.sub(escapable, lambda found: _ESCAPES.get(found[1], found[1]), source[1:-1])
