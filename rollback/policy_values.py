"""Variables in the values of a policy file: expanded after parsing, so that no value can inject YAML.

What was not set, and what fell back to its default, is remembered: a probe that would go to a default address
measures something else than the feature (invariant 6). Kill path: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rollback.environment import expand
from rollback.errors import ConfigurationError
from rollback.policy_yaml import Path

IDENTITY = frozenset({"feature", "aliases"})
"""Top-level fields in which variables are not filled in: a feature's name is the same on every machine."""


class Values(NamedTuple):
    """Data with its variables filled in; a value with a variable that is not set is None.

    `unset` has the names of the variables, `wrong` what cannot be read as a reference. Values are secrets perhaps, so
    they never show.
    """

    data: Any
    defaulted: frozenset[Path]
    unset: Mapping[Path, tuple[str, ...]]
    wrong: Mapping[Path, str]

    def __repr__(self) -> str:
        """Without the data."""
        return f"Values(defaulted={set(self.defaulted)}, unset={self.unset}, wrong={self.wrong})"


def expand_values(data: Any, environ: Mapping[str, str], *, verbatim: frozenset[str] = frozenset()) -> Values:
    """Fills in the variables of every text in `data`, except below the top-level keys in `verbatim`."""
    walk = _Walk(environ, verbatim)
    filled = walk.fill(data, ())
    return Values(filled, frozenset(walk.defaulted), walk.unset, walk.wrong)


class _Walk:
    def __init__(self, environ: Mapping[str, str], verbatim: frozenset[str]) -> None:
        self.environ = environ
        self.verbatim = verbatim
        self.defaulted: set[Path] = set()
        self.unset: dict[Path, tuple[str, ...]] = {}
        self.wrong: dict[Path, str] = {}

    def fill(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "$" in value and (not path or path[0] not in self.verbatim):
            return self._text(value, path)
        return value

    def _text(self, text: str, path: Path) -> str | None:
        try:
            expansion = expand(text, self.environ)
        except ConfigurationError as error:
            self.wrong[path] = f"{error.message}; {error.next}"
            return None
        if expansion.unset:
            self.unset[path] = expansion.unset
        if expansion.defaulted:
            self.defaulted.add(path)
        return expansion.value


def requests_in(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every request of a policy's data (endpoints, metrics, the effect check, switches and so on), with its path."""
    if not isinstance(data, dict):
        return
    health = data.get("health")
    spots: list[tuple[Path, Any]] = [(("effect_check",), data.get("effect_check"))]
    switches = data.get("switches")
    if isinstance(switches, list):
        beside = [(index, one) for index, one in enumerate(switches) if isinstance(one, dict)]
        spots.extend((("switches", index, "read_back"), one.get("read_back")) for index, one in beside)
    if isinstance(health, dict):
        spots.extend((("health", name), health.get(name)) for name in ("control", "version", "maintenance"))
        for name in ("endpoints", "metrics"):
            several = health.get(name)
            if isinstance(several, list):
                spots.extend((("health", name, index), one) for index, one in enumerate(several))
    for path, spot in spots:
        if isinstance(spot, dict) and "url" in spot:
            yield path, spot


def forget_unknown_targets(values: Values) -> None:
    """Takes away the address of every request that cannot be asked as it was meant.

    That is one whose address fell back to a default, and one with a header whose variable is not set: it would ask
    somebody else, or be turned away, and both say nothing about the feature.
    """
    unset_headers = {path[:-2] for path in values.unset if path[-2:-1] == ("headers",)}
    for path, request in requests_in(values.data):
        if (*path, "url") in values.defaulted or path in unset_headers:
            request["url"] = None
