"""Reads the policies' folder, strictly: severities, `automation.yaml`, features (`features/<feature>.yaml`), and the
plans of releases (`releases/<release>.yaml`).

Every error of a file is `file:line: what is wrong; what to do`, and all of them are told at once. A broken file hides
no other: its errors are raised when that feature is asked for, and by `rollback policy lint`. What turning off needs
is read by `rollback.flag_reference` instead, which tolerates what this module refuses.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from rollback.core.model import Severity
from rollback.core.policy import AutomationPolicy, FeaturePolicy, PolicyModel, SeverityPolicy
from rollback.core.release_policy import ReleasePolicy
from rollback.errors import ConfigurationError
from rollback.policy_errors import PolicyFileError, problems_of
from rollback.policy_values import IDENTITY, Values, expand_values, forget_unknown_targets
from rollback.policy_yaml import Document, NotYaml, Problem, dotted, read

SUFFIXES = (".yaml", ".yml")

AUTOMATION = "automation"
"""The name, without its ending, of the file that says how alerts come in and who is told: no severity."""

AnyPolicy = TypeVar("AnyPolicy", bound=PolicyModel)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[AnyPolicy]):
    """A policy and the file it came from.

    `written` is the file's data before variables were filled in. `defaulted` are the dotted paths of values in which
    a variable's default was taken, `unset` those that are null because a variable is not set, with its name. A probe
    target in either has no address in the policy: it is unknown, never healthy (invariant 6).
    """

    policy: AnyPolicy
    file: FilePath
    document: Document = field(repr=False)
    defaulted: frozenset[str] = frozenset()
    unset: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def written(self) -> Any:
        """The file's data as it is written, with `${…}` in it. May hold a secret that should not be there."""
        return self.document.data

    def line_of(self, *path: str | int) -> int:
        """The line of the value at `path`, or of what is around it."""
        return self.document.line_of(path) or 1


LoadedFeature = Loaded[FeaturePolicy]
LoadedSeverity = Loaded[SeverityPolicy]
LoadedAutomation = Loaded[AutomationPolicy]
LoadedRelease = Loaded[ReleasePolicy]


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be used, the names it would answer to, and why."""

    file: FilePath
    names: tuple[str, ...]
    error: PolicyFileError


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything in one folder. `severities` is by file name without `.yaml`, `features` and `releases` by key.

    `automation_file` is None without an `automation.yaml`, and when it is broken: then `broken_automation` says why.
    """

    folder: FilePath
    features: Mapping[str, LoadedFeature]
    severities: Mapping[str, LoadedSeverity]
    broken_features: tuple[Broken, ...] = ()
    broken_severities: tuple[Broken, ...] = ()
    automation_file: LoadedAutomation | None = None
    broken_automation: tuple[Broken, ...] = ()
    releases: Mapping[str, LoadedRelease] = field(default_factory=dict)
    broken_releases: tuple[Broken, ...] = ()

    @property
    def automation(self) -> AutomationPolicy:
        """What `automation.yaml` says; without the file the defaults: no source at all.

        Raises `PolicyFileError` when it is broken: a source that is left out would be silent, and nobody would know.
        """
        for broken in self.broken_automation:
            raise broken.error
        return AutomationPolicy() if self.automation_file is None else self.automation_file.policy

    def feature(self, name: str) -> LoadedFeature:
        """The feature with this key or alias, upper and lower case alike.

        Raises `PolicyFileError` when its file is broken, ConfigurationError when no feature, or more than one,
        answers to the name.
        """
        wanted = name.strip().casefold()
        for broken in self.broken_features:
            if wanted == broken.file.stem.casefold():
                raise broken.error
        if wanted in self.features:
            return self.features[wanted]
        found = [one for one in self.features.values() if wanted in one.policy.aliases]
        if len(found) > 1:
            keys = ", ".join(one.policy.feature for one in found)
            raise ConfigurationError(f"{name!r} is an alias of more than one feature: {keys}", next="say its key")
        if found:
            return found[0]
        for broken in self.broken_features:
            if wanted in broken.names:
                raise broken.error
        raise self._no_feature(name, wanted)

    def severity(self, feature: FeaturePolicy, severity: Severity) -> LoadedSeverity:
        """The policy that `feature` uses at this severity.

        Raises `PolicyFileError` when its file is broken, ConfigurationError when there is none, or when it is for
        another severity.
        """
        name = feature.policies.of(severity)
        for broken in self.broken_severities:
            if name in broken.names:
                raise broken.error
        loaded = self.severities.get(name)
        if loaded is None:
            raise ConfigurationError(
                f"{feature.feature} uses the policy {name!r} at severity {severity}, and {self.folder} has none",
                next=f"known: {', '.join(sorted(self.severities)) or 'none'}",
            )
        if loaded.policy.severity is not severity:
            raise ConfigurationError(
                f"{feature.feature} uses {loaded.file} at severity {severity}, and it is for {loaded.policy.severity}",
                next=f"name another file in policies.{severity} of the feature",
            )
        return loaded

    def release(self, name: str) -> LoadedRelease | None:
        """The plan of a release of this name, upper and lower case alike; None when there is none, or a feature is
        called so. Raises `PolicyFileError` when its file is broken."""
        wanted = name.strip().casefold()
        if wanted in self.features:
            return None
        for broken in self.broken_releases:
            if wanted == broken.file.stem.casefold():
                raise broken.error
        return self.releases.get(wanted)

    def _no_feature(self, name: str, wanted: str) -> ConfigurationError:
        known = {called: key for key, one in self.features.items() for called in one.policy.names}
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return ConfigurationError(
            f"no feature is called {name!r} in {self.folder / 'features'}",
            next=f"{hint}known: {', '.join(sorted(self.features)) or 'none'}",
        )


def load_policies(folder: str | FilePath, environ: Mapping[str, str]) -> Policies:
    """Reads the whole folder; `environ` comes from `environment.lookup`.

    Raises ConfigurationError only when the folder itself cannot be read.
    """
    folder = FilePath(folder)
    here = _policy_paths(folder)
    severities, broken_severities = _load_all([one for one in here if one.stem != AUTOMATION], SeverityPolicy, environ)
    automation, broken_automation = _load_all(
        [one for one in here if one.stem == AUTOMATION], AutomationPolicy, environ
    )
    features, broken_features = _load_all(_paths_below(folder, "features"), FeaturePolicy, environ)
    releases, broken_releases = _load_all(_paths_below(folder, "releases"), ReleasePolicy, environ)
    return Policies(
        folder,
        {one.policy.feature: one for one in features.values()},
        severities,
        broken_features,
        broken_severities,
        None if broken_automation else automation.get(AUTOMATION),
        broken_automation,
        releases,
        broken_releases,
    )


def load_feature(path: FilePath, environ: Mapping[str, str]) -> LoadedFeature:
    """Reads one feature's file. Raises `PolicyFileError` with everything that is wrong with it."""
    return _load(path, FeaturePolicy, environ)


def load_severity(path: FilePath, environ: Mapping[str, str]) -> LoadedSeverity:
    """Reads one severity's file. Raises `PolicyFileError` with everything that is wrong with it."""
    return _load(path, SeverityPolicy, environ)


# -- one folder, one file ----------------------------------------------------------------------


def _policy_paths(folder: FilePath) -> list[FilePath]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise ConfigurationError(
            f"the policies' folder {folder} cannot be read: {error.strerror or error}",
            next="set ROLLBACK_POLICIES to the folder that holds critical.yaml and features",
        ) from error


def _paths_below(folder: FilePath, name: str) -> list[FilePath]:
    return _policy_paths(folder / name) if (folder / name).is_dir() else []


def _load_all(
    paths: list[FilePath], model: type[AnyPolicy], environ: Mapping[str, str]
) -> tuple[dict[str, Loaded[AnyPolicy]], tuple[Broken, ...]]:
    loaded: dict[str, Loaded[AnyPolicy]] = {}
    broken: list[Broken] = []
    for path in paths:
        try:
            if path.stem in loaded:
                raise PolicyFileError(path, [Problem(1, f"{loaded[path.stem].file} has the same name", "remove one")])
            loaded[path.stem] = _load(path, model, environ)
        except PolicyFileError as error:
            broken.append(Broken(path, _names_in(path), error))
    return loaded, tuple(broken)


def _names_in(path: FilePath) -> tuple[str, ...]:
    """What a broken file would answer to, in lower case."""
    from rollback.feature_files import open_feature_file

    file = open_feature_file(path)
    return tuple(dict.fromkeys((path.stem.casefold(), file.key, *file.aliases)))


def _load(path: FilePath, model: type[AnyPolicy], environ: Mapping[str, str]) -> Loaded[AnyPolicy]:
    document = _document(path)
    values = expand_values(document.data, environ, verbatim=IDENTITY)
    forget_unknown_targets(values)
    problems = list(document.problems)
    problems.extend(_wrong_references(document, values))
    try:
        policy = model.model_validate(values.data)
    except ValidationError as error:
        problems.extend(problems_of(error, model, document, values))
        raise PolicyFileError(path, problems) from None
    if isinstance(policy, FeaturePolicy) and policy.feature != path.stem:
        problems.append(_wrong_name(policy, path, document))
    if isinstance(policy, ReleasePolicy) and policy.release != path.stem:
        what = f"`release` is {policy.release}, and the file is called {path.name}"
        problems.append(Problem(document.line_of(("release",)), what, f"call the file {policy.release}.yaml"))
    if problems:
        raise PolicyFileError(path, problems)
    return Loaded(
        policy,
        path,
        document,
        frozenset(dotted(where) for where in values.defaulted),
        {dotted(where): names for where, names in values.unset.items()},
    )


def _document(path: FilePath) -> Document:
    try:
        raw = path.read_bytes()
    except OSError as error:
        problem = Problem(None, f"the file cannot be read: {error.strerror or error}", "make it readable")
        raise PolicyFileError(path, [problem]) from error
    try:
        document = read(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyFileError(path, [Problem(line, "this is not UTF-8", "save the file as UTF-8")]) from None
    except NotYaml as error:
        raise PolicyFileError(path, [error.problem]) from None
    if not isinstance(document.data, dict):
        problem = Problem(1, "the file holds no fields", "see policies/README.md for what belongs in it")
        raise PolicyFileError(path, [problem])
    return document


def _wrong_references(document: Document, values: Values) -> list[Problem]:
    return [
        Problem(document.line_of(where), f"`{dotted(where)}`: {message}", path=where)
        for where, message in values.wrong.items()
    ]


def _wrong_name(policy: FeaturePolicy, path: FilePath, document: Document) -> Problem:
    return Problem(
        document.line_of(("feature",)),
        f"`feature` is {policy.feature}, and the file is called {path.name}",
        f"call the file {policy.feature}.yaml: it is found by that name when every second counts",
    )
