"""v2's management API: resources of an environment, each put replaces one whole resource.

`revision` is the head of the whole environment. A put with another one is refused (409, code 10); a put
without one, or with text that is no hex number, overwrites blindly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rollback.sandbox.model import DEFAULT, Environment, Namespace, State
from rollback.sandbox.routing import Call, Route, route
from rollback.sandbox.rpc import (
    ABORTED,
    ALREADY_EXISTS,
    INTERNAL,
    Body,
    RpcError,
    invalid,
    not_found,
    quoted,
)
from rollback.sandbox.store import Source, Store
from rollback.sandbox.v2_resources import KINDS, Kind

BASE = "/api/v2/environments"
NO_REVISION = "0" * 40


def environment_of(state: State, key: str) -> Environment:
    """The environment with this key. RpcError (404)."""
    found = state.environments.get(key)
    if found is None:
        raise not_found(f"environment: {quoted(key)}")
    return found


def asked_revision(text: str) -> str:
    """The revision that a client expects, as git reads it: its leading hex digits, filled up with zeros."""
    digits = ""
    for pair in (text[start : start + 2] for start in range(0, min(len(text), 40), 2)):
        if len(pair) < 2 or any(char not in "0123456789abcdefABCDEF" for char in pair):
            break
        digits += pair.lower()
    return digits.ljust(40, "0")


class ManagementV2:
    """Answers for environments, namespaces and resources. `store` None: nothing can be written."""

    def __init__(self, source: Source, store: Store | None) -> None:
        self._source = source
        self._store = store

    def routes(self) -> list[Route]:
        """Its paths."""
        namespaces = f"{BASE}/{{env}}/namespaces"
        resources = f"{namespaces}/{{ns}}/resources"
        return [
            route("GET", BASE, self._list_environments),
            route("GET", namespaces, self._list_namespaces),
            route("POST", namespaces, self._create_namespace),
            route("PUT", namespaces, self._update_namespace),
            route("GET", f"{namespaces}/{{key}}", self._get_namespace),
            route("DELETE", f"{namespaces}/{{key}}", self._delete_namespace),
            route("POST", resources, self._create_resource),
            route("PUT", resources, self._update_resource),
            route("GET", f"{resources}/{{type}}", self._list_resources),
            route("GET", f"{resources}/{{type}}/{{key}}", self._get_resource),
            route("DELETE", f"{resources}/{{type}}/{{key}}", self._delete_resource),
        ]

    def _list_environments(self, _call: Call) -> Any:
        keys = self._source.current().environments
        return {
            "environments": [
                {"key": key, "name": key, "default": key == DEFAULT, "configuration": {"ref": ref_of(key)}}
                for key in keys
            ]
        }

    def _list_namespaces(self, call: Call) -> Any:
        environment = self._environment(call)
        found = sorted(environment.namespaces.values(), key=lambda one: (one.documented, one.key))
        return {
            "items": [namespace_document(one) for one in found],
            "revision": environment.revision,
        }

    def _get_namespace(self, call: Call) -> Any:
        environment = self._environment(call)
        found = environment.namespaces.get(call["key"])
        if found is None:
            raise not_found(f"namespace {quoted(call['key'])}")
        return {"namespace": namespace_document(found), "revision": environment.revision}

    def _create_namespace(self, call: Call) -> Any:
        key = required_key(call.body)

        def check(environment: Environment) -> None:
            if key in environment.namespaces:
                raise RpcError(ALREADY_EXISTS, f"create namespace {quoted(key)}")

        return self._put_namespace(call, check)

    def _update_namespace(self, call: Call) -> Any:
        key = required_key(call.body)

        def check(environment: Environment) -> None:
            if key not in environment.namespaces:
                raise not_found(f"update namespace {quoted(key)}: namespace {quoted(key)}")

        return self._put_namespace(call, check)

    def _delete_namespace(self, call: Call) -> Any:
        key = call["key"]
        if key == DEFAULT:
            raise invalid('namespace "default" is protected')

        def change(environment: Environment) -> Environment:
            return environment.written({name: one for name, one in environment.namespaces.items() if name != key})

        return {"revision": self._write(call, call.request.query.get("revision", ""), change).revision}

    def _list_resources(self, call: Call) -> Any:
        environment = self._environment(call)
        kind = kind_of(call["type"])
        found = environment.namespaces.get(call["ns"])
        resources = [] if found is None else [kind.resource(one, found.key) for one in kind.of(found)]
        return {"resources": resources, "revision": environment.revision}

    def _get_resource(self, call: Call) -> Any:
        environment = self._environment(call)
        kind = kind_of(call["type"])
        thing = kind.find(environment, call["ns"], call["key"])
        return {"resource": kind.resource(thing, call["ns"]), "revision": environment.revision}

    def _create_resource(self, call: Call) -> Any:
        def check(kind: Kind[Any], environment: Environment, key: str) -> None:
            found = environment.namespaces.get(call["ns"])
            if found is not None and kind.has(found, key):
                where = quoted(f"{kind.type}/{call['ns']}/{key}")
                raise RpcError(ALREADY_EXISTS, f"create resource {where}")

        return self._put_resource(call, check)

    def _update_resource(self, call: Call) -> Any:
        def check(kind: Kind[Any], environment: Environment, key: str) -> None:
            try:
                kind.find(environment, call["ns"], key)
            except RpcError as error:
                where = quoted(f"{kind.type}/{call['ns']}/{key}")
                raise RpcError(error.code, f"update resource {where}: {error.message}") from error

        return self._put_resource(call, check)

    def _delete_resource(self, call: Call) -> Any:
        """Deleting what is not there is a commit like any other."""
        kind = kind_of(call["type"])

        def change(environment: Environment) -> Environment:
            found = environment.namespaces.get(call["ns"])
            if found is None:
                return environment.written(environment.namespaces)
            return environment.with_namespace(kind.without(found, call["key"]))

        with_type = self._prefixed(kind, change)
        revision = call.request.query.get("revision", "")
        return {"revision": self._write(call, revision, with_type, kind).revision}

    def _put_resource(self, call: Call, check: Callable[[Kind[Any], Environment, str], None]) -> Any:
        body, ns = call.body, call["ns"]
        key = required_key(body)
        payload = body.nested("payload")
        kind = kind_of("" if payload is None else payload.text("@type"))
        assert payload is not None
        put: list[dict[str, Any]] = []

        def change(environment: Environment) -> Environment:
            check(kind, environment, key)
            namespace = environment.namespaces.get(ns)
            if namespace is None:
                raise RpcError(INTERNAL, f"{kind.putting(ns, key)}: namespace not found: {quoted(ns)}")
            thing = kind.read(payload, key, namespace)
            put.append(kind.resource(thing, ns))
            return environment.with_namespace(kind.put(namespace, thing))

        with_type = self._prefixed(kind, change)
        environment = self._write(call, body.text("revision"), with_type, kind)
        return {"resource": put[0], "revision": environment.revision}

    def _put_namespace(self, call: Call, check: Callable[[Environment], None]) -> Any:
        body, key = call.body, required_key(call.body)
        described = body.text("description")
        written: dict[str, Any] = {"key": key, "name": body.text("name")}
        written |= {"description": described} if body.has("description") else {}
        written |= {"protected": body.flag("protected")} if body.has("protected") else {}

        def change(environment: Environment) -> Environment:
            check(environment)
            known = environment.namespaces.get(key) or Namespace(key)
            fresh = Namespace(
                key,
                name=body.text("name") or key,
                description=described,
                protected=key == DEFAULT,
                documented=True,
                flags=known.flags,
                segments=known.segments,
            )
            return environment.with_namespace(fresh)

        environment = self._write(call, body.text("revision"), change)
        return {"namespace": written, "revision": environment.revision}

    def _environment(self, call: Call) -> Environment:
        return environment_of(self._source.current(), call["env"])

    @staticmethod
    def _prefixed(kind: Kind[Any], change: Callable[[Environment], Environment]) -> Callable[..., Environment]:
        """`change`, whose errors name the resource's type."""

        def apply(environment: Environment) -> Environment:
            try:
                return change(environment)
            except RpcError as error:
                raise RpcError(error.code, f"resource type {quoted(kind.type)}: {error.message}") from error

        return apply

    def _write(
        self,
        call: Call,
        revision: str,
        change: Callable[[Environment], Environment],
        kind: Kind[Any] | None = None,
    ) -> Environment:
        """Carry out one write on the call's environment. RpcError (409) when its head is another one."""
        key, expected = call["env"], asked_revision(revision)
        environment_of(self._source.current(), key)
        if self._store is None:
            raise RpcError(INTERNAL, "modification is not allowed in read-only mode")
        prefix = "" if kind is None else f"resource type {quoted(kind.type)}: "

        def apply(state: State) -> State:
            environment = environment_of(state, key)
            if expected not in (NO_REVISION, environment.revision):
                head = quoted(environment.revision)
                raise RpcError(ABORTED, f"{prefix}expected head revision {quoted(expected)} has changed (now {head})")
            return state.with_environment(change(environment))

        return self._store.update(apply).environments[key]


def ref_of(environment_key: str) -> str:
    """The branch of an environment."""
    return "main" if environment_key == DEFAULT else environment_key


def namespace_document(namespace: Namespace) -> dict[str, Any]:
    """A namespace as v2 lists it."""
    return {
        "key": namespace.key,
        "name": namespace.name or namespace.key,
        "description": namespace.description,
        "protected": namespace.key == DEFAULT,
    }


def required_key(body: Body) -> str:
    """The key of what is written. RpcError (400)."""
    key = body.text("key")
    if not key:
        raise invalid("key must not be empty")
    return key


def kind_of(type_url: str) -> Kind[Any]:
    """The kind of a resource by its type, with or without the prefix. RpcError (404)."""
    name = type_url.removeprefix("type.googleapis.com/")
    kind = KINDS.get(name)
    if kind is None:
        raise not_found(f"git storage view: resource type {quoted(name)}")
    return kind
