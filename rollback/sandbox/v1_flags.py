"""v1's management API: namespaces, flags, variants."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rollback.sandbox import v1_documents as documents
from rollback.sandbox.model import (
    BOOLEAN,
    DEFAULT,
    VARIANT,
    Environment,
    Flag,
    Namespace,
    State,
    Variant,
    new_id,
    utc_now,
)
from rollback.sandbox.routing import Call, Route, route
from rollback.sandbox.rpc import INTERNAL, RpcError, bad_field, empty_field, invalid, not_found, quoted
from rollback.sandbox.store import Source, Store

KEY = re.compile(r"[-_,A-Za-z0-9]+\Z")
NAMESPACED = "/api/v1(?:/namespaces/(?P<ns>[^/]+))?"


@dataclass(frozen=True, slots=True)
class Backing:
    """Where the data is. `store` is None when nothing can be written (declarative storage)."""

    source: Source
    store: Store | None
    declarative: bool = False

    def namespaces(self) -> dict[str, Namespace]:
        """All namespaces, by key."""
        return dict(self.source.current().environments[DEFAULT].namespaces)

    def namespace(self, key: str) -> Namespace | None:
        """A namespace. RpcError (404) where declarative storage lacks it; a database just has no rows."""
        found = self.namespaces().get(key)
        if found is None and self.declarative:
            raise not_found(f"namespace {quoted(key)}")
        return found

    def flag(self, namespace_key: str, key: str) -> Flag:
        """A flag. RpcError (404) when it is not there."""
        namespace = self.namespace(namespace_key)
        return flag_of(namespace, namespace_key, key)

    def write(self, change: Callable[[Environment], Environment]) -> None:
        """Apply a change. RpcError (500) in read-only mode."""
        if self.store is None:
            raise RpcError(INTERNAL, "modification is not allowed in read-only mode")

        def apply(state: State) -> State:
            return state.with_environment(change(state.environments[DEFAULT]))

        self.store.update(apply)

    def write_namespace(self, key: str, change: Callable[[Namespace], Namespace]) -> None:
        """Change one namespace. RpcError (404) when it is not there."""

        def apply(environment: Environment) -> Environment:
            if (namespace := environment.namespaces.get(key)) is None:
                raise not_found(f"namespace {quoted(key)}")
            return environment.with_namespace(change(namespace))

        self.write(apply)

    def write_flag(self, namespace_key: str, key: str, change: Callable[[Flag], Flag]) -> Flag:
        """Change one flag and give it back. RpcError (404) when it is not there."""
        changed: list[Flag] = []

        def apply(environment: Environment) -> Environment:
            namespace = environment.namespaces.get(namespace_key)
            changed.append(change(flag_of(namespace, namespace_key, key)))
            assert namespace is not None
            return environment.with_namespace(namespace.with_flag(changed[0]))

        self.write(apply)
        return changed[0]


def flag_of(namespace: Namespace | None, namespace_key: str, key: str) -> Flag:
    """The flag in this namespace. RpcError (404) when it is not there."""
    flag = None if namespace is None else namespace.flags.get(key)
    if flag is None:
        raise not_found(f"flag {quoted(f'{namespace_key}/{key}')}")
    return flag


def checked_key(key: str) -> str:
    """A key that may be given to something new. RpcError (400)."""
    if not key:
        raise empty_field("key")
    if not KEY.match(key):
        raise bad_field("key", "contains invalid characters")
    return key


def required(value: str, name: str) -> str:
    """A field that must not be empty. RpcError (400)."""
    if not value:
        raise empty_field(name)
    return value


def namespace_key(call: Call) -> str:
    """The namespace of a call; paths without one mean the default one."""
    return call.params.get("ns", DEFAULT)


class FlagsV1:
    """Answers for namespaces, flags and variants."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing

    def routes(self) -> list[Route]:
        """Its paths."""
        flags = f"{NAMESPACED}/flags"
        variants = f"{flags}/{{flag}}/variants"
        return [
            route("GET", "/api/v1/namespaces", self._list_namespaces),
            route("POST", "/api/v1/namespaces", self._create_namespace),
            route("GET", "/api/v1/namespaces/{key}", self._get_namespace),
            route("PUT", "/api/v1/namespaces/{key}", self._update_namespace),
            route("DELETE", "/api/v1/namespaces/{key}", self._delete_namespace),
            route("GET", flags, self._list_flags),
            route("POST", flags, self._create_flag),
            route("GET", f"{flags}/{{key}}", self._get_flag),
            route("PUT", f"{flags}/{{key}}", self._update_flag),
            route("DELETE", f"{flags}/{{key}}", self._delete_flag),
            route("POST", variants, self._create_variant),
            route("PUT", f"{variants}/{{id}}", self._update_variant),
            route("DELETE", f"{variants}/{{id}}", self._delete_variant),
        ]

    def _list_namespaces(self, call: Call) -> Any:
        found = self._backing.namespaces().values()
        entries = [(one.key, documents.namespace_document(one)) for one in found]
        return documents.page("namespaces", entries, call.request.query, self._backing.declarative)

    def _get_namespace(self, call: Call) -> Any:
        found = self._backing.namespaces().get(call["key"])
        if found is None:
            raise not_found(f"namespace {quoted(call['key'])}")
        return documents.namespace_document(found)

    def _create_namespace(self, call: Call) -> Any:
        key, name = checked_key(call.body.text("key")), required(call.body.text("name"), "name")
        fresh = Namespace(key, name, call.body.text("description"), version=new_id(), documented=True)

        def change(environment: Environment) -> Environment:
            if key in environment.namespaces:
                raise invalid(f"namespace {quoted(key)} is not unique")
            return environment.with_namespace(fresh)

        self._backing.write(change)
        return documents.namespace_document(fresh)

    def _update_namespace(self, call: Call) -> Any:
        name, description = required(call.body.text("name"), "name"), call.body.text("description")
        self._backing.write_namespace(
            call["key"],
            lambda one: replace(one, name=name, description=description, version=new_id(), updated_at=utc_now()),
        )
        return self._get_namespace(call)

    def _delete_namespace(self, call: Call) -> Any:
        key, force = call["key"], call.request.query.get("force") == "true"

        def change(environment: Environment) -> Environment:
            found = environment.namespaces.get(key)
            if found is None:
                raise not_found(f"namespace {quoted(key)}")
            if found.protected:
                raise invalid(f"namespace {quoted(key)} is protected")
            if found.flags and not force:
                raise invalid(f"namespace {quoted(key)} cannot be deleted; flags must be deleted first")
            return environment.written({name: one for name, one in environment.namespaces.items() if name != key})

        self._backing.write(change)
        return {}

    def _list_flags(self, call: Call) -> Any:
        ns = namespace_key(call)
        found = self._backing.namespace(ns)
        flags = [] if found is None else list(found.flags.values())
        if self._backing.declarative:
            flags.sort(key=lambda flag: flag.key)
        entries = [(flag.key, documents.flag_document(flag, ns, listed=True)) for flag in flags]
        return documents.page("flags", entries, call.request.query, self._backing.declarative)

    def _get_flag(self, call: Call) -> Any:
        ns = namespace_key(call)
        return documents.flag_document(self._backing.flag(ns, call["key"]), ns)

    def _create_flag(self, call: Call) -> Any:
        ns, body = namespace_key(call), call.body
        flag = Flag(
            key=checked_key(body.text("key")),
            name=required(body.text("name"), "name"),
            type=body.choice("type", (VARIANT, BOOLEAN)),
            description=body.text("description"),
            enabled=body.flag("enabled"),
            metadata=body.struct("metadata") or None,
        )

        def change(namespace: Namespace) -> Namespace:
            if flag.key in namespace.flags:
                raise invalid(f"flag {quoted(f'{ns}/{flag.key}')} is not unique")
            return namespace.with_flag(flag)

        self._backing.write_namespace(ns, change)
        return documents.flag_document(flag, ns)

    def _update_flag(self, call: Call) -> Any:
        """Replaces name, description, enabled and the default variant; metadata only when given."""
        ns, body = namespace_key(call), call.body
        name, description = required(body.text("name"), "name"), body.text("description")
        enabled, chosen, metadata = (
            body.flag("enabled"),
            body.text("defaultVariantId"),
            body.struct("metadata"),
        )

        def change(flag: Flag) -> Flag:
            if chosen and flag.variant(chosen) is None:
                raise invalid(f"variant {quoted(chosen)} not found for flag {quoted(f'{ns}/{flag.key}')}")
            return replace(
                flag,
                name=name,
                description=description,
                enabled=enabled,
                default_variant_id=chosen,
                metadata=flag.metadata if metadata is None else metadata or None,
                updated_at=utc_now(),
            )

        return documents.flag_document(self._backing.write_flag(ns, call["key"], change), ns)

    def _delete_flag(self, call: Call) -> Any:
        self._backing.write_namespace(namespace_key(call), lambda one: one.without_flag(call["key"]))
        return {}

    def _create_variant(self, call: Call) -> Any:
        ns, fields = namespace_key(call), self._variant_fields(call)
        variant = Variant(**fields)

        def change(flag: Flag) -> Flag:
            if flag.variant_named(variant.key) is not None:
                where = quoted(f"{ns}/{flag.key}")
                raise invalid(f"variant {quoted(variant.key)} is not unique for flag {where}")
            return replace(flag, variants=(*flag.variants, variant))

        flag = self._backing.write_flag(ns, call["flag"], change)
        return documents.variant_document(variant, flag, ns)

    def _update_variant(self, call: Call) -> Any:
        ns, fields = namespace_key(call), self._variant_fields(call)

        def change(flag: Flag) -> Flag:
            if flag.variant(call["id"]) is None:
                raise not_found(f"variant {quoted(fields['key'])}")
            named = flag.variant_named(fields["key"])
            if named is not None and named.id != call["id"]:
                where = quoted(f"{ns}/{flag.key}")
                raise invalid(f"variant {quoted(named.key)} is not unique for flag {where}")
            changed = tuple(
                replace(one, **fields, updated_at=utc_now()) if one.id == call["id"] else one for one in flag.variants
            )
            return replace(flag, variants=changed)

        flag = self._backing.write_flag(ns, call["flag"], change)
        variant = flag.variant(call["id"])
        assert variant is not None
        return documents.variant_document(variant, flag, ns)

    def _delete_variant(self, call: Call) -> Any:
        """Takes it out of the rules and of the default as well; deleting what is not there is fine."""

        def change(flag: Flag) -> Flag:
            rules = tuple(
                replace(
                    rule,
                    distributions=tuple(one for one in rule.distributions if one.variant_id != call["id"]),
                )
                for rule in flag.rules
            )
            return replace(
                flag,
                variants=tuple(one for one in flag.variants if one.id != call["id"]),
                rules=rules,
                default_variant_id="" if flag.default_variant_id == call["id"] else flag.default_variant_id,
            )

        self._backing.write_flag(namespace_key(call), call["flag"], change)
        return {}

    @staticmethod
    def _variant_fields(call: Call) -> dict[str, Any]:
        body = call.body
        attachment = body.text("attachment")
        try:
            json.loads(attachment or "null")
        except ValueError as error:
            raise bad_field("attachment", "must be a json string") from error
        return {
            "key": required(body.text("key"), "key"),
            "name": body.text("name"),
            "description": body.text("description"),
            "attachment": attachment,
        }
