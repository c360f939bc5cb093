"""What the server itself says: Flipt's own evaluation over HTTP, as applications without an SDK ask it.

`POST /evaluate/v1/batch`, both versions of Flipt. The environment is named in the header that SDKs send, and one
other than the default also in each request's `environmentKey` (v2; v1 knows no environments). The header is what
keeps a typing error from being answered with the default environment: in a request, an unknown name counts as none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollback.adapters.client_views.answers import Answer, sighting
from rollback.adapters.flipt_http import Answer as HttpAnswer
from rollback.adapters.flipt_http import BadRequest, PathUnknown
from rollback.core.flag import FlagRef, Polarity
from rollback.core.proof import SERVER
from rollback.ports import Sample, Sighting

BATCH = 200
"""Evaluations in one request."""

TIMEOUT_SECONDS = 10.0
"""How long one round of all samples may take; 300 samples take some 10 ms."""

_DEFAULT_ENVIRONMENT = "default"
_Reader = Callable[[Any, FlagRef], Answer]


class JsonHttp(Protocol):
    """What is needed of `FliptHttp`."""

    base_url: str

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer: ...
    def close(self) -> None: ...


class _Unusable(Exception):
    """An answer that does not say how a sample is evaluated."""


@dataclass(slots=True)
class _Round:
    """One round of questions and what came of it."""

    ref: FlagRef
    deadline: float
    answers: list[Answer | None] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def body(self, sample: Sample) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "namespaceKey": self.ref.namespace,
            "flagKey": self.ref.flag_key,
            "entityId": sample.entity_id,
            "context": dict(sample.context),
        }
        if self.ref.environment != _DEFAULT_ENVIRONMENT:
            asked["environmentKey"] = self.ref.environment
        return asked

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Flipt-Environment": self.ref.environment}

    def take(self, read: _Reader, body: Any) -> None:
        """Keeps what `body` says; what says nothing usable is an error in its place."""
        try:
            self.answers.append(read(body, self.ref))
        except _Unusable as error:
            self.answers.append(None)
            self.errors.append(f"server evaluation: {error}")


class ServerEvaluationClientView:
    """A `ClientView` of one replica through the server's own evaluation.

    An error answer, an HTTP error, an answer about another flag or a batch of the wrong length is an
    error in the sighting. A server without the batch path is asked one by one.
    """

    name = SERVER

    def __init__(self, http: JsonHttp, *, replica: str = "", timeout: float = TIMEOUT_SECONDS) -> None:
        self.replica = replica or http.base_url
        self._http = http
        self._timeout = timeout

    def prepare(self) -> None:
        """Nothing is slow to start here."""

    def evaluate(self, ref: FlagRef, polarity: Polarity, samples: Sequence[Sample], *, deadline: float) -> Sighting:
        """All samples, by as many batches as it takes. Never raises."""
        asked = _Round(ref, min(deadline, time.monotonic() + self._timeout))
        try:
            try:
                for chunk in _chunks(samples):
                    self._batch(asked, chunk)
            except PathUnknown:
                self._one_by_one(asked, samples)
        except Exception as error:  # the promise is to answer; what went wrong is part of the answer
            asked.errors.append(f"server evaluation: {error}")
        return sighting(samples, asked.answers, asked.errors, polarity)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _batch(self, asked: _Round, chunk: Sequence[Sample]) -> None:
        body = self._post(asked, "batch", {"requests": [asked.body(sample) for sample in chunk]})
        responses = body.get("responses")
        if not isinstance(responses, list) or len(responses) != len(chunk):
            asked.answers.extend([None] * len(chunk))
            asked.errors.append("server evaluation: a batch was answered with the wrong number of answers")
            return
        for response in responses:
            asked.take(_batched, response)

    def _one_by_one(self, asked: _Round, samples: Sequence[Sample]) -> None:
        kind, read = "boolean", _boolean
        for sample in samples:
            try:
                body = self._post(asked, kind, asked.body(sample))
            except BadRequest:  # this path is not for flags of this type
                if kind == "variant":
                    raise
                kind, read = "variant", _variant
                body = self._post(asked, kind, asked.body(sample))
            asked.take(read, body)

    def _post(self, asked: _Round, kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._http.request(
            "POST", f"/evaluate/v1/{kind}", json=body, headers=asked.headers, deadline=asked.deadline
        ).body


def _chunks(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), BATCH):
        yield samples[start : start + BATCH]


def _batched(response: Any, ref: FlagRef) -> Answer:
    match response:
        case {"type": "BOOLEAN_EVALUATION_RESPONSE_TYPE", "booleanResponse": dict(body)}:
            return _boolean(body, ref)
        case {"type": "VARIANT_EVALUATION_RESPONSE_TYPE", "variantResponse": dict(body)}:
            return _variant(body, ref)
        case {"type": "ERROR_EVALUATION_RESPONSE_TYPE", "errorResponse": {"reason": str(reason)}}:
            raise _Unusable(f"the server cannot evaluate the flag ({reason})")
    raise _Unusable("an answer of a kind that is not known")


def _boolean(body: Any, ref: FlagRef) -> Answer:
    match body:
        case {"flagKey": ref.flag_key, "enabled": bool(enabled)}:
            return Answer(enabled=enabled)
    raise _Unusable("an answer about something else")


def _variant(body: Any, ref: FlagRef) -> Answer:
    match body:
        case {"flagKey": ref.flag_key, "match": bool(matched), "variantKey": str(variant)}:
            return Answer(variant=variant, match=matched)
    raise _Unusable("an answer about something else")
