"""v1's management API: segments and their constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rollback.sandbox import v1_documents as documents
from rollback.sandbox.constraints import DATE_ONLY, Unparsable, json_list, parse_moment
from rollback.sandbox.model import ALL, ANY, Constraint, Namespace, Segment, utc_now
from rollback.sandbox.routing import Call, Route, route
from rollback.sandbox.rpc import empty_field, invalid, not_found, quoted
from rollback.sandbox.v1_flags import NAMESPACED, Backing, checked_key, namespace_key, required

COMPARED = frozenset({"eq", "neq", "lt", "lte", "gt", "gte", "present", "notpresent"})
LISTED = frozenset({"isoneof", "isnotoneof"})
CONTAINED = frozenset({"contains", "notcontains"})
OPERATORS = {
    "STRING": frozenset({"eq", "neq", "empty", "notempty", "prefix", "suffix"}) | LISTED | CONTAINED,
    "NUMBER": COMPARED | LISTED,
    "BOOLEAN": frozenset({"true", "false", "present", "notpresent"}),
    "DATETIME": COMPARED | LISTED,
    "ENTITY_ID": frozenset({"eq", "neq"}) | LISTED | CONTAINED,
}
WITHOUT_VALUE = frozenset({"true", "false", "empty", "notempty", "present", "notpresent"})
KIND_NAMES = {"ENTITY_ID": "entityId"}
COMPARISON_TYPES = (
    "UNKNOWN_COMPARISON_TYPE",
    *(f"{kind}_COMPARISON_TYPE" for kind in ("STRING", "NUMBER", "BOOLEAN", "DATETIME", "ENTITY_ID")),
)


class SegmentsV1:
    """Answers for segments and constraints."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    def routes(self) -> list[Route]:
        """Its paths."""
        segments = f"{NAMESPACED}/segments"
        constraints = f"{segments}/{{segment}}/constraints"
        return [
            route("GET", segments, self._list_segments),
            route("POST", segments, self._create_segment),
            route("GET", f"{segments}/{{key}}", self._get_segment),
            route("PUT", f"{segments}/{{key}}", self._update_segment),
            route("DELETE", f"{segments}/{{key}}", self._delete_segment),
            route("POST", constraints, self._create_constraint),
            route("PUT", f"{constraints}/{{id}}", self._update_constraint),
            route("DELETE", f"{constraints}/{{id}}", self._delete_constraint),
        ]

    def _list_segments(self, call: Call) -> Any:
        ns = namespace_key(call)
        found = self._backing.namespace(ns)
        segments = [] if found is None else list(found.segments.values())
        entries = [(one.key, documents.segment_document(one, ns)) for one in segments]
        return documents.page("segments", entries, call.request.query, self._backing.declarative)

    def _get_segment(self, call: Call) -> Any:
        ns = namespace_key(call)
        found = self._backing.namespace(ns)
        if found is None or call["key"] not in found.segments:
            raise self._no_segment(ns, call["key"])
        return documents.segment_document(found.segments[call["key"]], ns)

    def _create_segment(self, call: Call) -> Any:
        ns, body = namespace_key(call), call.body
        segment = Segment(
            key=checked_key(body.text("key")),
            name=required(body.text("name"), "name"),
            description=body.text("description"),
            match_type=body.choice("matchType", (ALL, ANY)),
        )

        def change(namespace: Namespace) -> Namespace:
            if segment.key in namespace.segments:
                raise invalid(f"segment {quoted(f'{ns}/{segment.key}')} is not unique")
            return namespace.with_segment(segment)

        self._backing.write_namespace(ns, change)
        return documents.segment_document(segment, ns)

    def _update_segment(self, call: Call) -> Any:
        body = call.body
        fields: dict[str, Any] = {
            "name": required(body.text("name"), "name"),
            "description": body.text("description"),
            "match_type": body.choice("matchType", (ALL, ANY)),
        }
        self._write_segment(call, call["key"], lambda one: replace(one, **fields, updated_at=utc_now()))
        return self._get_segment(call)

    def _delete_segment(self, call: Call) -> Any:
        ns, key = namespace_key(call), call["key"]

        def change(namespace: Namespace) -> Namespace:
            if any(key in flag.segments_used() for flag in namespace.flags.values()):
                raise invalid(f"segment {quoted(f'{ns}/{key}')} is in use")
            return namespace.without_segment(key)

        self._backing.write_namespace(ns, change)
        return {}

    def _create_constraint(self, call: Call) -> Any:
        constraint = Constraint(**constraint_fields(call))
        self._write_segment(
            call,
            call["segment"],
            lambda one: replace(one, constraints=(*one.constraints, constraint)),
        )
        return documents.constraint_document(constraint, call["segment"], namespace_key(call))

    def _update_constraint(self, call: Call) -> Any:
        fields = constraint_fields(call)
        changed: list[Constraint] = []

        def change(segment: Segment) -> Segment:
            for one in segment.constraints:
                if one.id == call["id"]:
                    changed.append(replace(one, **fields, updated_at=utc_now()))
            if not changed:
                raise not_found(f"constraint {quoted(call['id'])}")
            fresh = tuple(changed[0] if one.id == call["id"] else one for one in segment.constraints)
            return replace(segment, constraints=fresh)

        self._write_segment(call, call["segment"], change)
        return documents.constraint_document(changed[0], call["segment"], namespace_key(call))

    def _delete_constraint(self, call: Call) -> Any:
        self._write_segment(
            call,
            call["segment"],
            lambda segment: replace(
                segment, constraints=tuple(one for one in segment.constraints if one.id != call["id"])
            ),
        )
        return {}

    def _write_segment(self, call: Call, key: str, change: Callable[[Segment], Segment]) -> None:
        ns = namespace_key(call)

        def apply(namespace: Namespace) -> Namespace:
            if key not in namespace.segments:
                raise self._no_segment(ns, key)
            return namespace.with_segment(change(namespace.segments[key]))

        self._backing.write_namespace(ns, apply)

    @staticmethod
    def _no_segment(ns: str, key: str) -> Exception:
        return not_found(f"segment {quoted(f'{ns}/{key}')}")


def constraint_fields(call: Call) -> dict[str, Any]:
    """The fields of a constraint, checked as v1 checks them. RpcError (400)."""
    body = call.body
    asked, name = body.text("operator"), body.text("property")
    required(name, "property")
    required(asked, "operator")
    kind = body.choice("type", COMPARISON_TYPES)
    operator, value = asked.lower(), body.text("value")
    check_operator(kind, asked, name)
    if operator in WITHOUT_VALUE:
        value = ""
    elif not value:
        raise empty_field("value")
    elif kind == "DATETIME_COMPARISON_TYPE":
        value = moment_text(value)
    elif operator in LISTED:
        check_list(kind, value, name)
    return {
        "type": kind,
        "property": name,
        "operator": operator,
        "value": value,
        "description": body.text("description"),
    }


def check_operator(comparison_type: str, operator: str, name: str) -> None:
    """Is this operator one of the type's? RpcError (400)."""
    kind = comparison_type.removesuffix("_COMPARISON_TYPE")
    if kind not in OPERATORS:
        raise invalid(f"invalid constraint type: {quoted(comparison_type)}")
    if kind == "ENTITY_ID" and name != "entityId":
        raise invalid(f'property is {name} instead of "entityId"')
    if operator.lower() not in OPERATORS[kind]:
        named = KIND_NAMES.get(kind, kind.lower())
        raise invalid(f"constraint operator {quoted(operator)} is not valid for type {named}")


def moment_text(value: str) -> str:
    """A time in UTC, as v1 stores it. RpcError (400)."""
    try:
        seconds = parse_moment(value)
    except Unparsable as error:
        raise invalid(f"parsing datetime from {quoted(value)}") from error
    moment = datetime.fromtimestamp(seconds, UTC)
    return value if DATE_ONLY.match(value) else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_list(comparison_type: str, value: str, name: str) -> None:
    """A list of at most 100 values of the right kind. RpcError (400)."""
    kind = comparison_type.removesuffix("_COMPARISON_TYPE")
    named = KIND_NAMES.get(kind, kind.lower())
    try:
        values = json_list(value, *((int, float) if kind == "NUMBER" else (str,)))
    except Unparsable as error:
        raise invalid(f"invalid value provided for property {quoted(name)} of type {named}") from error
    if len(values) > 100:
        raise invalid(f"too many values provided for property {quoted(name)} of type {named} (maximum 100)")
