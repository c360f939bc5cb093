"""Reads a flag out of a declarative Flipt file: v1's shape and the one that v2 writes into its repository.

Values are read as Flipt's YAML library reads them into its fields: the text decides, so a key `off` is text, and
`yes` in the place of a boolean is true. What Flipt could not read or serve is a defect of the flag, so that its
exposure is unknown rather than guessed; a defect never stands in the way of a kill. Pure. Kill path: standard library
only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rollback.adapters.flag_stores.declarative_values import (
    NULL,
    boolean_of,
    constraint_value,
    is_null,
    number_of,
    text_of,
)
from rollback.adapters.flag_stores.yaml_nodes import Node, YamlError, compose
from rollback.core.flag import (
    Constraint,
    Distribution,
    FlagConfig,
    FlagRef,
    FlagType,
    Operator,
    Rollout,
    Rule,
    Segment,
)
from rollback.errors import ConfigurationError, FlagMissing

BOM = b"\xef\xbb\xbf"
DEFAULT_NAMESPACE = "default"

_TYPES = {"": FlagType.VARIANT, "VARIANT_FLAG_TYPE": FlagType.VARIANT, "BOOLEAN_FLAG_TYPE": FlagType.BOOLEAN}
_OPERATORS = {"": Operator.OR, "OR_SEGMENT_OPERATOR": Operator.OR, "AND_SEGMENT_OPERATOR": Operator.AND}


@dataclass(frozen=True, slots=True)
class DeclarativeFile:
    """A file's text (without a byte order mark) and its documents. `where` names it in errors."""

    where: str
    text: str
    documents: tuple[Node, ...]
    has_bom: bool = False

    def encode(self, text: str) -> bytes:
        """`text` as the file's bytes."""
        return (BOM if self.has_bom else b"") + text.encode()


@dataclass(frozen=True, slots=True)
class Found:
    """Where a flag stands: the document's number from 0, the flag's place in its list, and its node."""

    document: int
    position: int
    node: Node


def parse_file(data: bytes, where: str) -> DeclarativeFile:
    """Raises `ConfigurationError` with line and column when `data` is not YAML (or JSON) in UTF-8."""
    body = data.removeprefix(BOM)
    try:
        text = body.decode()
        return DeclarativeFile(where, text, tuple(compose(text)), has_bom=len(body) < len(data))
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        reason = f"line {line} is not UTF-8"
    except YamlError as error:
        reason = str(error)
    raise ConfigurationError(f"{where} cannot be read: {reason}", next="Mend that place in the file.")


def namespace_of(document: Node) -> str:
    """A document's namespace, `default` when it names none."""
    node = document.get("namespace")
    if node is not None and node.kind == "mapping":
        node = node.get("key")
    return text_of(node) or DEFAULT_NAMESPACE


def find_flag(file: DeclarativeFile, ref: FlagRef) -> Found:
    """Where the flag stands.

    Raises `FlagMissing` when the namespace or the flag is not in the file, `ConfigurationError` when the flag stands
    there twice (which one counts differs between readers) or where its lists should be is something else.
    """
    namespaces, keys, found = set(), [], []
    for number, document in enumerate(file.documents):
        if document.kind == "scalar" and document.text in NULL:
            continue
        if document.kind != "mapping":
            raise _broken(file, document, "there is no list of flags here")
        namespaces.add(namespace_of(document))
        if namespace_of(document) != ref.namespace:
            continue
        _no_key_twice(file, document)
        for position, item in enumerate(_items(file, document, "flags")):
            key = text_of(item.resolved.get("key"))
            keys.append(key)
            if key == ref.flag_key:
                found.append(Found(number, position, item.resolved))
    if len(found) > 1:
        places = " and ".join(one.node.place for one in found[:3])
        raise ConfigurationError(
            f"{file.where} has flag {ref.flag_key} more than once ({places})", next="Take out all but one."
        )
    if not found:
        raise _missing(file, ref, namespaces, keys)
    _no_key_twice(file, found[0].node)
    return found[0]


def read_flag(file: DeclarativeFile, ref: FlagRef, *, segments: bool = False) -> FlagConfig:
    """The flag as the file has it; each rollout's `wire` is its place in the file, from 0. Raises as `find_flag`."""
    return _FlagReader(file, ref, find_flag(file, ref).node).read(with_segments=segments)


class _FlagReader:
    """Reads one flag, collecting what Flipt would refuse."""

    def __init__(self, file: DeclarativeFile, ref: FlagRef, node: Node) -> None:
        self.file, self.node = file, node
        self.defects: list[str] = []
        self.segment_nodes = _segment_nodes(file, ref.namespace)

    def read(self, *, with_segments: bool) -> FlagConfig:
        kind = _TYPES.get(text_of(self.node.get("type")))
        if kind is None:
            self._defect(self.node.get("type"), "is no type of flag")
        rollout_nodes = _items(self.file, self.node, "rollouts")
        is_boolean = kind is FlagType.BOOLEAN or (kind is None and bool(rollout_nodes))
        if rollout_nodes and not is_boolean:
            self._defect(rollout_nodes[0], "is a rollout, and the flag's type is not BOOLEAN_FLAG_TYPE")
        rollouts = tuple(self._rollout(one.resolved, index) for index, one in enumerate(rollout_nodes))
        rules = tuple(self._rule(one.resolved) for one in _items(self.file, self.node, "rules"))
        variants = [one.resolved for one in _items(self.file, self.node, "variants")]
        defaults = [text_of(one.get("key")) for one in variants if self._boolean(one.get("default"))]
        config = FlagConfig(
            key=text_of(self.node.get("key")),
            type=FlagType.BOOLEAN if is_boolean else FlagType.VARIANT,
            enabled=self._boolean(self.node.get("enabled")),
            rollouts=rollouts if is_boolean else (),
            rules=() if is_boolean else rules,
            default_variant=defaults[-1] if defaults else None,  # Flipt takes the last
            variants=tuple(text_of(one.get("key")) for one in variants),
            description=text_of(self.node.get("description")),
        )
        named = [key for one in config.rollouts for key in one.segments]
        named += [key for one in config.rules for key in one.segments]
        self._check_names(config, named)
        known = {key: self.segment_nodes[key] for key in dict.fromkeys(named) if key in self.segment_nodes}
        read = {key: _segment(node) for key, node in known.items() if node is not None and with_segments}
        return replace(config, segments=read, defects=tuple(dict.fromkeys(self.defects)))

    def _check_names(self, config: FlagConfig, named: Sequence[str]) -> None:
        """Flipt serves nothing of a file that names what is not in it: its readers keep what they had."""
        for key in dict.fromkeys(named):
            if key not in self.segment_nodes:
                self.defects.append(f"it names the segment {key}, which is not in the file: Flipt refuses the file")
        for variant in dict.fromkeys(share.variant for rule in config.rules for share in rule.distributions):
            if variant not in config.variants:
                self.defects.append(f"it names the variant {variant}, which it does not have: Flipt refuses the file")

    def _rollout(self, node: Node, index: int) -> Rollout:
        description = text_of(node.get("description"))
        threshold, segment = _object(node.get("threshold")), _object(node.get("segment") or node.get("segments"))
        if (threshold is None) == (segment is None):
            self._defect(node, "is neither a threshold nor a segment" if threshold is None else "is both kinds")
        if threshold is not None:
            percentage = self._number(threshold.get("percentage"))
            value = self._boolean(threshold.get("value"))
            return Rollout(value=value, percentage=percentage, description=description, wire=index)
        if segment is None:
            return Rollout(value=True, description=description, wire=index)
        return Rollout(
            value=self._boolean(segment.get("value")) if segment.kind == "mapping" else False,
            segments=self._segment_keys(segment),
            operator=self._operator(segment),
            description=description,
            wire=index,
        )

    def _rule(self, node: Node) -> Rule:
        segment = _object(node.get("segment") or node.get("segments"))
        if segment is None:
            self._defect(node, "names no segment")
        shares = [one.resolved for one in _items(self.file, node, "distributions")]
        return Rule(
            segments=() if segment is None else self._segment_keys(segment),
            distributions=tuple(
                Distribution(text_of(one.get("variant")), self._number(one.get("rollout"))) for one in shares
            ),
            operator=Operator.OR if segment is None else self._operator(segment),
        )

    def _segment_keys(self, node: Node) -> tuple[str, ...]:
        """`segment: key`, `segment: [keys]`, `segment: {key}`, `segment: {keys}`. v1 prefers `key`, v2 `keys`."""
        if node.kind == "scalar":
            return (text_of(node),)
        listed = node if node.kind == "sequence" else node.get("keys")
        keys = tuple(text_of(one.resolved) for one in listed.children) if listed and listed.kind == "sequence" else ()
        single = text_of(node.get("key"))
        if single and keys and keys != (single,):
            self._defect(node, "has both key and keys, and they differ")
        return keys or ((single,) if single else ())

    def _operator(self, node: Node) -> Operator:
        found = node.get("operator")
        operator = _OPERATORS.get(text_of(found))
        if operator is None:
            self._defect(found, "is no operator")
        return operator or Operator.OR

    def _boolean(self, node: Node | None) -> bool:
        """What is no boolean is a defect, and read as true."""
        value = boolean_of(node)
        if value is None:
            self._defect(node, "is neither true nor false")
        return value is not False

    def _number(self, node: Node | None) -> float:
        """Nothing and null are 0; what is no number is a defect, and read as 0."""
        if node is None or is_null(node):
            return 0.0
        number = number_of(node.text) if node.kind == "scalar" and not node.style else None
        if number is None:
            self._defect(node, "is no number")
        return number or 0.0

    def _defect(self, node: Node | None, what: str) -> None:
        place, said = (node.place, f" {node.text[:40]!r}" if node.text else "") if node else ("the flag", "")
        self.defects.append(f"{place}:{said} {what}")


def _object(node: Node | None) -> Node | None:
    return None if node is None or is_null(node) else node


def _items(file: DeclarativeFile, node: Node, key: str) -> Sequence[Node]:
    """The items of a list (maybe aliases), none when it is missing. Raises `ConfigurationError` for anything else."""
    found = _object(node.get(key))
    if found is None:
        return ()
    if found.kind != "sequence":
        raise _broken(file, found, f"{key} is not a list")
    return found.children


def _no_key_twice(file: DeclarativeFile, node: Node) -> None:
    seen: set[str] = set()
    for key, _ in node.pairs():
        if key.text in seen and key.text != "<<":
            raise _broken(file, key, f"{key.text} stands there a second time")
        seen.add(key.text)


def _segment_nodes(file: DeclarativeFile, namespace: str) -> dict[str, Node | None]:
    """The namespace's segments by key; None for a key that stands twice, since readers differ in which one counts."""
    found: dict[str, Node | None] = {}
    for document in file.documents:
        if document.kind == "mapping" and namespace_of(document) == namespace:
            segments = document.get("segments")
            for item in segments.children if segments and segments.kind == "sequence" else ():
                key = text_of(item.resolved.get("key"))
                found[key] = None if key in found else item.resolved
    return found


def _segment(node: Node) -> Segment:
    constraints = node.get("constraints")
    return Segment(
        key=text_of(node.get("key")),
        match_all=text_of(node.get("match_type")) != "ANY_MATCH_TYPE",
        constraints=tuple(_constraints(constraints)) if constraints is not None else (),
    )


def _constraints(node: Node) -> Iterator[Constraint]:
    """What is there but cannot be read still is a constraint: it may match anybody and may match nobody."""
    for item in node.children if node.kind == "sequence" else [node]:
        one = item.resolved
        if not is_null(one):
            kind = text_of(one.get("type")).removesuffix("_COMPARISON_TYPE").lower()
            yield Constraint(
                kind, text_of(one.get("property")), text_of(one.get("operator")), constraint_value(one.get("value"))
            )


def _broken(file: DeclarativeFile, node: Node, why: str) -> ConfigurationError:
    return ConfigurationError(f"{file.where} cannot be read: {node.place}: {why}", next="Mend that place in the file.")


def _missing(file: DeclarativeFile, ref: FlagRef, namespaces: set[str], keys: list[str]) -> FlagMissing:
    import difflib

    if ref.namespace not in namespaces:
        listed = ", ".join(sorted(namespaces)[:8]) or "none"
        return FlagMissing(
            f"{file.where} has no namespace {ref.namespace}", next=f"Check the namespace; the file has: {listed}."
        )
    near = difflib.get_close_matches(ref.flag_key, keys, n=3) or sorted(keys)[:8]
    return FlagMissing(
        f"{file.where} has no flag {ref.flag_key} in namespace {ref.namespace}",
        next=f"Check the key; the file has: {', '.join(near) or 'no flags'}.",
    )
