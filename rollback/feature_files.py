"""Finds the file of a feature by its key or alias, however broken other files are.

Kill path: standard library only, and PyYAML when a file is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from rollback.core.scalars import FEATURE_PATTERN
from rollback.errors import ConfigurationError
from rollback.policy_yaml import Document, Problem, salvage

BY_HAND = "name the flag itself, which needs no policy: rollback disable --flag ENVIRONMENT/NAMESPACE/KEY"
"""What to do when policies are in the way of off."""


class FeatureFile(NamedTuple):
    """A feature's file as far as it can be read. `key` and `aliases` are in lower case."""

    path: Path
    document: Document
    key: str
    aliases: tuple[str, ...]


def find_feature_file(folder: Path, name: str) -> FeatureFile:
    """The file of the feature with this key or alias, upper and lower case alike.

    A file named after the feature is read alone; else every file that mentions the name. A key goes before an alias.
    Raises ConfigurationError when no feature, or more than one, answers to the name.
    """
    wanted = name.strip().casefold()
    features = folder / "features"
    own = _own_file(features, wanted)
    if own is not None and own.key == wanted:
        return own
    others = [open_feature_file(path) for path in feature_paths(features) if _mentions(path, wanted)]
    by_key = [file for file in others if file.key == wanted]
    found = by_key or [file for file in others if wanted in file.aliases]
    if len(found) > 1:
        # A copy that is not renamed yet must not stand in the way of the feature it was copied from.
        found = [file for file in found if file.path.stem.casefold() == file.key] or found
    if len(found) > 1:
        keys = ", ".join(file.path.name for file in found)
        raise ConfigurationError(
            f"{name!r} is the name of more than one feature: {keys}",
            next=f"say which one by its key, or {BY_HAND}",
        )
    if not found:
        raise _nothing_found(features, name, wanted)
    return found[0]


def _own_file(features: Path, wanted: str) -> FeatureFile | None:
    if not re.fullmatch(FEATURE_PATTERN, wanted):
        return None
    paths = [features / f"{wanted}{suffix}" for suffix in (".yaml", ".yml")]
    return next((open_feature_file(path) for path in paths if path.is_file()), None)


def feature_paths(features: Path) -> list[Path]:
    """The policy files of all features, sorted. Raises ConfigurationError when the folder cannot be read."""
    try:
        return sorted(path for path in features.iterdir() if path.suffix in (".yaml", ".yml"))
    except OSError as error:
        raise ConfigurationError(
            f"the policies' folder {features} cannot be read: {error.strerror or error}",
            next=f"set ROLLBACK_POLICIES to the folder that holds `features`, or {BY_HAND}",
        ) from error


def _mentions(path: Path, wanted: str) -> bool:
    """A quick look, so that only files which may hold the name are parsed."""
    try:
        return wanted in path.read_bytes().decode(errors="replace").casefold()
    except OSError:
        return False


def open_feature_file(path: Path) -> FeatureFile:
    """Reads one file as far as it goes; never raises."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        document = Document({}, {}, (Problem(None, f"the file cannot be read: {error.strerror or error}"),))
    else:
        document = salvage(raw.decode("utf-8-sig", errors="replace"))
    data = document.data if isinstance(document.data, dict) else {}
    key, aliases = data.get("feature"), data.get("aliases")
    return FeatureFile(
        path,
        document,
        (key if isinstance(key, str) else path.stem).casefold(),
        tuple(alias.casefold() for alias in aliases if isinstance(alias, str)) if isinstance(aliases, list) else (),
    )


def _nothing_found(features: Path, name: str, wanted: str) -> ConfigurationError:
    import difflib

    files = [open_feature_file(path) for path in feature_paths(features)]
    known = {called: file.key for file in files for called in (file.key, *file.aliases)}
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = ", ".join(sorted({file.key for file in files})) or "none"
    return ConfigurationError(
        f"no feature is called {name!r} in {features}", next=f"{hint}known: {listed}; or {BY_HAND}"
    )
