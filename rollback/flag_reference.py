"""The part of a feature's policy that turning it off needs, read in spite of errors anywhere else in the file.

`rollback.policy_files` is the strict reader. This one answers when that one refuses: a health section that is wrong,
an unknown field, even broken YAML below the flag still leave a reference (invariant 1). Only the flag's own reference
must be right: a wrong polarity would turn the feature on for everybody. Kill path: standard library only, and PyYAML
when a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rollback.core.flag import FlagRef, Polarity
from rollback.core.scalars import KEY_PATTERN, parse_boolean, parse_duration
from rollback.errors import ConfigurationError
from rollback.feature_files import BY_HAND, FeatureFile, feature_paths, find_feature_file, open_feature_file
from rollback.policy_values import IDENTITY, Values, expand_values, forget_unknown_targets
from rollback.policy_yaml import Path as Place
from rollback.policy_yaml import dotted

ASSUMED_POLL_SECONDS = 120.0
"""How often Flipt's SDKs poll when nobody says otherwise (`flipt.md`); assumed where the policy cannot be read."""

PROOF_MARGIN_SECONDS = 30.0
"""What the proof of off may take beyond poll and replica lag."""


class Surface(NamedTuple):
    """A place where people meet the feature, and why the flag does or does not decide there."""

    name: str
    because: str


class FlagReference(NamedTuple):
    """What `disable` and its proof need of a feature.

    `production` is True unless the policy says otherwise in so many words. `poll_interval_seconds` is the longest
    interval of a polling client, `None` when no client polls; `streaming` and `server_side` say that such clients
    exist. `clients_known` is False when the policy's list of clients is missing or could not be read: then 120 s is
    assumed, and nobody may claim that all readers follow. `effect_check` is the policy's section with its variables
    filled in (headers may be secret), for `core.policy.EffectCheck`; `None` when there is none or its address is not
    known; `effect_check_unknown` tells the two apart, since a check that cannot be asked is none that was passed.
    `not_covered` are the surfaces that the flag does not reach. `problems` are sentences about what could not be read;
    none of them stands in the way of off.
    """

    feature: str
    name: str
    ref: FlagRef
    polarity: Polarity
    production: bool = True
    poll_interval_seconds: float | None = None
    streaming: bool = False
    server_side: bool = False
    clients_known: bool = True
    replica_lag_seconds: float = 0.0
    prove_within_seconds: float = ASSUMED_POLL_SECONDS + PROOF_MARGIN_SECONDS
    not_covered: tuple[Surface, ...] = ()
    aliases: tuple[str, ...] = ()
    cohort: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    effect_check: Mapping[str, Any] | None = None
    effect_check_unknown: bool = False
    file: str | None = None
    problems: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the effect check, whose headers may be secret."""
        return f"FlagReference({self.feature!r}, {self.ref}, problems={self.problems})"

    @property
    def follow_seconds(self) -> float:
        """How long readers may take to follow a write: the longest poll and the replica lag."""
        return (self.poll_interval_seconds or 0.0) + self.replica_lag_seconds

    @property
    def flag_ref(self) -> FlagRef:
        """The same as `ref`, under the name that `FeaturePolicy` has for it."""
        return self.ref


def parse_direct(text: str, feature: str = "") -> FlagReference:
    """A reference from `environment/namespace/key`, without any policy; `feature` is its key when known.

    Then `true`, and every variant, means on, the feature counts as production, and its readers are not known. Raises
    ConfigurationError when `text` is not three keys.
    """
    parts = text.split("/")
    if len(parts) != 3 or not all(re.fullmatch(KEY_PATTERN, part) for part in parts):
        raise ConfigurationError(
            f"{text!r} does not name a flag",
            next="write --flag ENVIRONMENT/NAMESPACE/KEY, e.g. default/mhv/secure-messaging",
        )
    ref = FlagRef(*parts)
    return FlagReference(
        feature=feature or ref.flag_key,
        name=feature or ref.flag_key,
        ref=ref,
        polarity=Polarity(),
        poll_interval_seconds=ASSUMED_POLL_SECONDS,
        clients_known=False,
        problems=(f"no policy was read for {ref}: it is taken that true means on, and its readers are not known",),
    )


def read_flag_reference(folder: str | Path, name: str, environ: Mapping[str, str]) -> FlagReference:
    """The reference of the feature with this key or alias (upper and lower case alike) in the policy folder.

    `environ` comes from `environment.lookup`. Raises ConfigurationError when no feature, or more than one, answers to
    the name, and when the flag's own reference is wrong; its `next` names the way without policies.
    """
    return _reference(find_feature_file(Path(folder), name), environ)


def read_by_flag(folder: str | Path, text: str, environ: Mapping[str, str]) -> FlagReference:
    """Like `parse_direct`, but with what a policy says about this very flag, where one can be read.

    So that a flag whose `true` takes the feature down is not turned the wrong way. No error in any policy stands in
    the way. Raises ConfigurationError when `text` is not three keys.
    """
    direct = parse_direct(text)
    try:
        paths = feature_paths(Path(folder) / "features")
    except ConfigurationError:
        return direct
    for path in paths:
        try:
            found = _reference(open_feature_file(path), environ)
        except ConfigurationError:
            continue
        if found.ref == direct.ref:
            return found
    return direct


# -- reading it ------------------------------------------------------------------------------


def _reference(file: FeatureFile, environ: Mapping[str, str]) -> FlagReference:
    data = file.document.data if isinstance(file.document.data, dict) else {}
    values = expand_values(data, environ, verbatim=IDENTITY)
    forget_unknown_targets(values)
    ref, polarity = _flag(file, values)
    part = _Lenient(file, values)
    readers = part.readers()
    lag = part.seconds("replica_lag") or 0.0
    within = part.seconds("prove_within")
    poll = readers.poll_seconds or 0.0
    return FlagReference(
        feature=file.key,
        name=part.text("name") or file.key,
        ref=ref,
        polarity=polarity,
        production=part.production(),
        poll_interval_seconds=readers.poll_seconds,
        streaming=readers.streaming,
        server_side=readers.server_side,
        clients_known=readers.known,
        replica_lag_seconds=lag,
        prove_within_seconds=within or poll + lag + PROOF_MARGIN_SECONDS,
        not_covered=part.not_covered(),
        aliases=file.aliases,
        cohort=part.cohort(),
        channels=part.channels(),
        effect_check=(effect_check := part.effect_check()),
        effect_check_unknown=part.data.get("effect_check") is not None and effect_check is None,
        file=str(file.path),
        problems=part.all_problems(),
    )


_FLAG_FIELDS = ("environment", "namespace", "key", "on", "on_variants")


def _flag(file: FeatureFile, values: Values) -> tuple[FlagRef, Polarity]:
    """The flag and its polarity; nothing here may be guessed. Raises ConfigurationError with file and line."""
    for path, message in _flag_problems(file, values):
        line = file.document.line_of(path) or 1
        raise ConfigurationError(f"{file.path}:{line}: {message}", next=f"correct the file, or {BY_HAND}")
    block = values.data["flag"]
    polarity = Polarity(parse_boolean(block.get("on", True)), frozenset(block.get("on_variants", ())))
    return FlagRef(block.get("environment", "default"), block["namespace"], block["key"]), polarity


def _flag_problems(file: FeatureFile, values: Values) -> Iterator[tuple[Place, str]]:
    """Everything that is wrong with the flag's own reference, and where."""
    for problem in file.document.problems:
        if problem.path[:1] == ("flag",):
            yield problem.path, problem.message
    for path, names in values.unset.items():
        if path[:1] == ("flag",):
            yield path, f"the variable {names[0]} in `{dotted(path)}` is not set"
    for path, wrong in values.wrong.items():
        if path[:1] == ("flag",):
            yield path, f"`{dotted(path)}`: {wrong}"
    block = values.data.get("flag")
    if not isinstance(block, dict):
        yield ("flag",), "the section `flag` is missing or cannot be read, so there is no flag to turn off"
    else:
        yield from _block_problems(block)


def _block_problems(block: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    for name in sorted(block.keys() - set(_FLAG_FIELDS)):
        yield ("flag", name), f"unknown field `flag.{name}`: it might be meant to say what on is"
    for name in _FLAG_FIELDS[:3]:
        key = block.get(name, "default" if name == "environment" else None)
        if not _is_key(key):
            yield ("flag", name), f"`flag.{name}` must be a key written as text, e.g. {name}: mhv"
    yield from _polarity_problems(block)


def _polarity_problems(block: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    variants = block.get("on_variants", [])
    if not isinstance(variants, list) or not all(_is_key(variant) for variant in variants):
        yield ("flag", "on_variants"), "`flag.on_variants` must be a list of variants' keys"
    try:
        on_value = parse_boolean(block.get("on", True))
    except ValueError as error:
        yield ("flag", "on"), f"`flag.on`: {error}"
    else:
        if variants and not on_value:
            yield (
                ("flag", "on"),
                "`flag.on: false` is for boolean flags, `flag.on_variants` for variant flags",
            )


def _is_key(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(KEY_PATTERN, value) is not None


class _Readers(NamedTuple):
    poll_seconds: float | None = ASSUMED_POLL_SECONDS
    streaming: bool = False
    server_side: bool = False
    known: bool = False


class _Lenient:
    """Reads what is not the flag's own reference: what is wrong becomes a problem, never an error."""

    def __init__(self, file: FeatureFile, values: Values) -> None:
        self.file = file
        self.data: dict[str, Any] = values.data
        self.values = values
        self.problems: list[str] = []

    def all_problems(self) -> tuple[str, ...]:
        """What is wrong with the file, then what was not understood here."""
        found = [self._located(problem.message, problem.line) for problem in self.file.document.problems]
        if not isinstance(self.data.get("feature"), str):
            self._problem("`feature` is missing or no text; the file's name is taken", ("feature",))
        return (*found, *self.problems)

    def text(self, name: str) -> str | None:
        value = self.data.get(name)
        if isinstance(value, str) and value.strip():
            return value
        self._problem(f"`{name}` is missing or is no text", (name,))
        return None

    def production(self) -> bool:
        try:
            return parse_boolean(self.data.get("production"))
        except ValueError:
            self._problem("`production` is missing or is neither true nor false; taken as true", ("production",))
            return True

    def seconds(self, name: str) -> float | None:
        for variable in self.values.unset.get((name,), ()):
            self._problem(f"`{name}`: the variable {variable} is not set", (name,))
        if (name,) in self.values.wrong:
            self._problem(f"`{name}`: {self.values.wrong[(name,)]}", (name,))
        if self.data.get(name) is None:
            return None
        try:
            return parse_duration(self.data[name]).total_seconds()
        except ValueError as error:
            self._problem(f"`{name}`: {error}", (name,))
            return None

    def readers(self) -> _Readers:
        clients = self.data.get("clients")
        if not isinstance(clients, list) or not clients:
            self._problem("`clients` is missing or no list: nobody knows when readers follow", ("clients",))
            return _Readers()
        polls: list[float] = []
        kinds: set[str] = set()
        for index, client in enumerate(clients):
            try:
                kind = client["kind"]
                if kind == "polling":
                    polls.append(parse_duration(client["interval"]).total_seconds())
                elif kind not in ("streaming", "server_side"):
                    raise ValueError(f"unknown kind {kind!r}")
                kinds.add(kind)
            except (TypeError, KeyError, ValueError) as error:
                self._problem(f"`clients[{index}]` cannot be read: {error}", ("clients", index))
        known = len(kinds) > 0 and not any("`clients[" in problem for problem in self.problems)
        if not known:
            polls.append(ASSUMED_POLL_SECONDS)
        return _Readers(max(polls, default=None), "streaming" in kinds, "server_side" in kinds, known)

    def not_covered(self) -> tuple[Surface, ...]:
        found = []
        for index, surface in self._entries("surfaces"):
            try:
                if not parse_boolean(surface["reached"]):
                    found.append(Surface(str(surface["name"]), str(surface.get("because") or "")))
            except (TypeError, KeyError, ValueError, AttributeError):
                self._problem(f"`surfaces[{index}]` cannot be read", ("surfaces", index))
        return tuple(found)

    def cohort(self) -> tuple[str, ...]:
        section = self.data.get("cohort")
        segments = section.get("segments") if isinstance(section, dict) else None
        if section is not None and not isinstance(segments, list):
            self._problem("`cohort.segments` is missing or is no list", ("cohort",))
        return tuple(item for item in segments if isinstance(item, str)) if isinstance(segments, list) else ()

    def channels(self) -> tuple[str, ...]:
        names = [entry.get("name") for _, entry in self._entries("channels") if isinstance(entry, dict)]
        return tuple(name for name in names if isinstance(name, str))

    def effect_check(self) -> Mapping[str, Any] | None:
        section = self.data.get("effect_check")
        if isinstance(section, dict) and isinstance(section.get("url"), str):
            return section
        if section is not None:
            self._problem("`effect_check` has no known address", ("effect_check",))
        return None

    def _entries(self, name: str) -> Iterable[tuple[int, Any]]:
        entries = self.data.get(name, [])
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            self._problem(f"`{name}` is no list", (name,))
            return ()
        return enumerate(entries)

    def _problem(self, message: str, path: Place) -> None:
        self.problems.append(self._located(message, self.file.document.line_of(path)))

    def _located(self, message: str, line: int | None) -> str:
        return f"{self.file.path}:{line or 1}: {message}"
