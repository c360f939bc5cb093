"""The evaluation endpoints of both versions: single, batch, OFREP, and the snapshots and streams of SDKs."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

from rollback.sandbox import evaluation as rules
from rollback.sandbox.evaluation import Asked, BooleanResult, Evaluator, VariantResult
from rollback.sandbox.model import BOOLEAN, DEFAULT, Environment, Flag, Namespace
from rollback.sandbox.routing import Call, Route, route
from rollback.sandbox.rpc import INVALID, NOT_FOUND, STATUS, Body, RpcError, bad_field, not_found, quoted
from rollback.sandbox.snapshots import accepted_version, etag_v1, snapshot_v1, snapshot_v2
from rollback.sandbox.store import Source
from rollback.sandbox.wire import Answer, json_answer, json_bytes

OFREP_REASONS = {
    rules.DISABLED: "DISABLED",
    rules.MATCH: "TARGETING_MATCH",
    rules.DEFAULT_REASON: "DEFAULT",
}
OFREP_CODES = {INVALID: "INVALID_CONTEXT", NOT_FOUND: "FLAG_NOT_FOUND"}
HEARTBEAT_SECONDS = 0.25


def now_text() -> str:
    """The time with nine digits of a second, as evaluations give it."""
    nanos = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanos // 10**9)) + f".{nanos % 10**9:09d}Z"


class EvaluationApi:
    """Answers evaluations. `declarative`: v1 on files, where a namespace that is not there is an error."""

    def __init__(self, api: str, source: Source, stopping: threading.Event, declarative: bool = False) -> None:
        self._api = api
        self._source = source
        self._stopping = stopping
        self._declarative = declarative

    def routes(self) -> list[Route]:
        """Its paths, as far as the version has them."""
        shared = [
            route("POST", "/evaluate/v1/boolean", self._boolean),
            route("POST", "/evaluate/v1/variant", self._variant),
            route("POST", "/evaluate/v1/batch", self._batch),
            route("POST", "/ofrep/v1/evaluate/flags/{flag}", self._ofrep),
            route("GET", "/internal/v1/evaluation/snapshot/namespace/{ns}", self._snapshot),
        ]
        if self._api == "v1":
            return shared
        client = "/client/v2/environments/{env}/namespaces/{ns}"
        return [
            *shared,
            route("GET", f"{client}/snapshot", self._snapshot),
            route("GET", f"{client}/stream", self._stream),
            route("GET", "/api/v1/namespaces/{ns}/flags", self._list_flags),
        ]

    def _boolean(self, call: Call) -> Any:
        started = time.perf_counter()
        flag, evaluator, asked = self._asked(call, call.body)
        result = evaluator.boolean(flag, asked)
        return boolean_document(result, flag, request_id(call.body), started)

    def _variant(self, call: Call) -> Any:
        started = time.perf_counter()
        flag, evaluator, asked = self._asked(call, call.body)
        result = evaluator.variant(flag, asked)
        return variant_document(result, flag, request_id(call.body), started)

    def _batch(self, call: Call) -> Any:
        """Several at once. A flag that is not there is an entry of its own. Any other error: v1 fails as a
        whole, v2 gives an entry for it."""
        started = time.perf_counter()
        responses = [self._batched(call, body, started) for body in call.body.each("requests")]
        return {
            "requestId": request_id(call.body),
            "responses": responses,
            "requestDurationMillis": millis(started),
        }

    def _batched(self, call: Call, body: Body, started: float) -> dict[str, Any]:
        try:
            flag, evaluator, asked = self._asked(call, body, single=False)
        except RpcError as error:
            if error.code != NOT_FOUND or error.message.startswith("failed to get environment"):
                raise
            return error_entry(body, "NOT_FOUND_ERROR_EVALUATION_REASON")
        try:
            own_id = body.text("requestId")
            if flag.type == BOOLEAN:
                result = boolean_document(evaluator.boolean(flag, asked), flag, own_id, started)
                return {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": result}
            result = variant_document(evaluator.variant(flag, asked), flag, own_id, started)
        except RpcError:
            if self._api == "v1":
                raise
            return error_entry(body, "UNKNOWN_ERROR_EVALUATION_REASON")
        return {"type": "VARIANT_EVALUATION_RESPONSE_TYPE", "variantResponse": result}

    def _ofrep(self, call: Call) -> Any:
        """OpenFeature's protocol, one flag. Errors have its own form."""
        try:
            return self._ofrep_one(call, call["flag"])
        except RpcError as error:
            return ofrep_error(call["flag"], error)

    def _ofrep_one(self, call: Call, key: str) -> dict[str, Any]:
        context = (call.body.raw("context")) or {}
        texts = Body({"context": context}).strings("context")
        asked = Asked(texts.get("targetingKey") or str(uuid.uuid4()), texts)
        namespace = self._namespace(self._environment(call, ""), ofrep_namespace(call))
        flag = self._flag(namespace, key)
        evaluator = Evaluator(namespace, self._api)
        if flag.type == BOOLEAN:
            result = evaluator.boolean(flag, asked)
            document = ofrep_document(flag.key, result.reason, "true" if result.enabled else "false", result.enabled)
            return document | ({"metadata": {}} if self._api == "v1" else {})
        chosen = evaluator.variant(flag, asked)
        metadata: dict[str, str] = {}
        if chosen.attachment:
            metadata["attachment"] = chosen.attachment
        if chosen.segment_keys:
            metadata["segments"] = ",".join(chosen.segment_keys)
        document = ofrep_document(flag.key, chosen.reason, chosen.variant_key, chosen.variant_key)
        return document | {"metadata": metadata}

    def _snapshot(self, call: Call) -> Any:
        """The snapshot of a namespace, with its etag; 304 when the client has it already."""
        environment = self._environment(call, call.params.get("env", ""))
        if self._api == "v1":
            namespace = environment.namespaces.get(call["ns"])
            if namespace is None and self._declarative:
                raise not_found(f"getting flags: namespace {quoted(call['ns'])}")
            accepted = accepted_version(call.header("x-flipt-accept-server-version"))
            document, etag = snapshot_v1(namespace, call["ns"], accepted), etag_v1(namespace)
        else:
            document = snapshot_v2(environment, call["ns"])
            etag = document["digest"]
        if etag and call.header("if-none-match") == etag:
            return Answer(304, headers={"etag": etag})
        return json_answer(document, etag=etag) if etag else json_answer(document)

    def _stream(self, call: Call) -> Any:
        """One line per snapshot: the current one at once (unless the client has it), then each change."""
        digest = call.request.query.get("digest", "")
        if digest and len(digest) != 40:
            raise bad_field("digest", "must be a 40-character string")
        self._environment(call, call["env"])
        headers = {"content-type": "application/json"}
        return Answer(200, headers=headers, lines=self._lines(call, digest))

    def _lines(self, call: Call, last_digest: str) -> Iterator[bytes]:
        """The lines of a stream; an empty one in between asks whether the client is still there."""
        version = -1
        while not self._stopping.is_set():
            state = self._source.wait_for_change(version, HEARTBEAT_SECONDS)
            if state.version == version:
                yield b""
                continue
            version = state.version
            try:
                document = snapshot_v2(self._environment(call, call["env"]), call["ns"])
            except RpcError:
                continue
            if document["digest"] != last_digest:
                last_digest = document["digest"]
                yield json_bytes({"result": document}) + b"\n"

    def _list_flags(self, call: Call) -> Any:
        """v2 keeps this one path of v1's management API, for old clients."""
        namespace = self._namespace(self._environment(call, ""), call["ns"])
        flags = [
            {
                "key": flag.key,
                "name": flag.name,
                "description": flag.description,
                "enabled": flag.enabled,
                "variants": [],
                "namespaceKey": "",
                "type": flag.type,
            }
            for flag in sorted(namespace.flags.values(), key=lambda one: one.key)
        ]
        return {"flags": flags, "nextPageToken": "", "totalCount": len(flags)}

    def _asked(self, call: Call, body: Body, single: bool = True) -> tuple[Flag, Evaluator, Asked]:
        """What an evaluation is about. RpcError (404) when environment, namespace or flag are not there."""
        environment = self._environment(call, body.text("environmentKey"))
        named = body.text("namespaceKey")
        if not named and single and self._api == "v2":
            named = call.header("x-flipt-namespace")
        namespace = self._namespace(environment, named or DEFAULT, body.text("flagKey"))
        flag = self._flag(namespace, body.text("flagKey"))
        return flag, Evaluator(namespace, self._api), Asked(body.text("entityId"), body.strings("context"))

    def _environment(self, call: Call, named: str) -> Environment:
        """The environment that is named, or else the one in the header, or else the default one.

        As in the real one, a name that is not there counts as none; only a wrong header is an error (404).
        """
        environments = self._source.current().environments
        if self._api == "v1":
            return environments[DEFAULT]
        if named in environments:
            return environments[named]
        asked = call.header("x-flipt-environment") or DEFAULT
        if asked not in environments:
            name = quoted(asked)
            raise not_found(f"failed to get environment {name} from context: environment: {name}")
        return environments[asked]

    def _namespace(self, environment: Environment, key: str, flag_key: str = "") -> Namespace:
        namespace = environment.namespaces.get(key)
        if namespace is not None:
            return namespace
        if self._api == "v1" and not self._declarative:
            self._no_flag(key, flag_key)
        raise not_found(f"namespace {quoted(key)}")

    def _flag(self, namespace: Namespace, key: str) -> Flag:
        flag = namespace.flags.get(key)
        return flag if flag is not None else self._no_flag(namespace.key, key)

    @staticmethod
    def _no_flag(namespace_key: str, flag_key: str) -> NoReturn:
        raise not_found(f"flag {quoted(f'{namespace_key}/{flag_key}')}")


def request_id(body: Body) -> str:
    """The client's id of a request, or a fresh one."""
    return body.text("requestId") or str(uuid.uuid4())


def millis(started: float) -> float:
    """Milliseconds since `started` (performance counter)."""
    return round((time.perf_counter() - started) * 1000, 6)


def boolean_document(result: BooleanResult, flag: Flag, own_id: str, started: float) -> dict[str, Any]:
    """An evaluation of a boolean flag."""
    return {
        "enabled": result.enabled,
        "reason": result.reason,
        "requestId": own_id,
        "requestDurationMillis": millis(started),
        "timestamp": now_text(),
        "flagKey": flag.key,
        "segmentKeys": list(result.segment_keys),
    }


def variant_document(result: VariantResult, flag: Flag, own_id: str, started: float) -> dict[str, Any]:
    """An evaluation of a variant flag."""
    return {
        "match": result.match,
        "segmentKeys": list(result.segment_keys),
        "reason": result.reason,
        "variantKey": result.variant_key,
        "variantAttachment": result.attachment,
        "requestId": own_id,
        "requestDurationMillis": millis(started),
        "timestamp": now_text(),
        "flagKey": flag.key,
    }


def error_entry(body: Body, reason: str) -> dict[str, Any]:
    """An entry of a batch that could not be evaluated."""
    error = {
        "flagKey": body.text("flagKey"),
        "namespaceKey": body.text("namespaceKey"),
        "reason": reason,
    }
    return {"type": "ERROR_EVALUATION_RESPONSE_TYPE", "errorResponse": error}


def ofrep_namespace(call: Call) -> str:
    """OFREP names the namespace in a header."""
    return call.header("x-flipt-namespace") or DEFAULT


def ofrep_document(key: str, reason: str, variant: str, value: bool | str) -> dict[str, Any]:
    """An evaluation in OpenFeature's form."""
    return {
        "key": key,
        "reason": OFREP_REASONS.get(reason, "UNKNOWN"),
        "variant": variant,
        "value": value,
    }


def ofrep_error(key: str, error: RpcError) -> Answer:
    """An error in OpenFeature's form."""
    message = f"flag was not found {key}" if error.code == NOT_FOUND else error.message
    keyed = {"key": key} if error.code in OFREP_CODES else {}
    code = OFREP_CODES.get(error.code, "GENERAL")
    return json_answer({**keyed, "errorCode": code, "errorDetails": message}, STATUS[error.code])
