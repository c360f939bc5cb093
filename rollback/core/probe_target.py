"""What is asked over HTTP: addresses, headers, and what a good answer is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_serializer, model_validator

from rollback.core.json_assertions import JsonAssertion, Operator
from rollback.core.policy_base import Duration, FeatureKey, Line, PolicyModel, Switch

Scalar = bool | int | float | str | None


def _status_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Status = Annotated[
    str,
    BeforeValidator(_status_text, json_schema_input_type=int | str),
    Field(pattern=r"^[1-5](\d\d|xx)$"),
]
"""A status such as `204`, or a class of them such as `2xx`."""


_NO_ADDRESS = "must be a full address that begins with https:// or http://"


def is_http(url: str) -> str:
    """The address, when it is a full one of http(s) without a password in it. Raises ValueError."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("must not contain blanks or control characters")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(_NO_ADDRESS) from None
    if not usable:
        raise ValueError(_NO_ADDRESS)
    if "@" in parts.netloc:
        raise ValueError("must not hold a user and password; put them into headers, from a variable")
    return url


Url = Annotated[str, AfterValidator(is_http), Field(max_length=2000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
Headers = Mapping[HeaderName, SecretStr | None]


class Assertion(PolicyModel):
    """One thing that must hold in the answer's JSON body. Exactly one comparison is given.

    A path that leads nowhere fails every comparison but `exists: false`, also `not_equals`.
    """

    path: str = Field(
        max_length=500,
        description="Where in the body, e.g. `data.items[0].type` or `data.features[name=sm].value`. "
        "Empty: the whole body.",
    )
    equals: Scalar = Field(
        default=None, description="The value is this one. Numbers by value, so 1 is 1.0; true is not 1."
    )
    not_equals: Scalar = Field(default=None, description="There is a value and it is not this one.")
    exists: Switch = Field(
        default=True, description="True: the path leads somewhere (null counts); false: it leads nowhere."
    )
    contains: Scalar = Field(default=None, description="Part of a text, an element of a list, or a key of an object.")
    one_of: tuple[Scalar, ...] = Field(default=(), alias="in", description="The value is one of these.")
    lt: float = Field(default=0.0, description="The value is a number below this one.")
    gt: float = Field(default=0.0, description="The value is a number above this one.")

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if len(self.model_fields_set - {"path"}) != 1:
            raise ValueError("give exactly one of equals, not_equals, exists, contains, in, lt, gt")
        self.as_json_assertion()
        return self

    def as_json_assertion(self) -> JsonAssertion:
        """The same as `core.json_assertions` checks it. Raises ValueError for a path that cannot be read."""
        (field,) = self.model_fields_set - {"path"}
        operator = Operator.IN if field == "one_of" else Operator(field)
        return JsonAssertion(self.path, operator, getattr(self, field))

    @model_serializer
    def _as_given(self) -> dict[str, Any]:
        """Only what was given, or reading it back would find several comparisons."""
        one = self.as_json_assertion()
        return {"path": one.path, one.operator.value: one.value}


class Request(PolicyModel):
    """A read that is asked again and again: it must never change anything."""

    url: Url | None = Field(
        default=None,
        description=(
            "The address. Null when a variable in it is unset or fell back to its default: then the "
            "target is unknown, never healthy."
        ),
    )
    method: Literal["GET", "HEAD"] = Field(default="GET", description="GET or HEAD: a probe only reads.")
    headers: Headers = Field(
        default_factory=dict,
        description=(
            "Headers to send; values are secret. One whose variable is unset (null) makes the target "
            "unknown; one whose value is empty is not sent."
        ),
    )
    expected_statuses: tuple[Status, ...] = Field(
        default=("2xx",),
        min_length=1,
        description="The statuses of a good answer: numbers such as 204, or classes such as 2xx.",
    )
    assertions: tuple[Assertion, ...] = Field(
        default=(),
        max_length=50,
        description="What must hold in the JSON body; a body that is no JSON fails them. Empty: the status decides.",
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10),
        gt=timedelta(0),
        description="How long to wait for the whole answer. 10s: longer than any user waits.",
    )

    def expects(self, status: int) -> bool:
        """Whether an answer with this status is a good one."""
        return any(str(status) == wanted or wanted == f"{status // 100}xx" for wanted in self.expected_statuses)

    @property
    def unknown_because(self) -> str | None:
        """Why this target cannot be asked; None when it can."""
        if self.url is None:
            return "its address is not known: a variable in it is not set"
        unset = [name for name, value in self.headers.items() if value is None]
        return f"its header {unset[0]} has no value: the variable in it is not set" if unset else None

    def sent_headers(self) -> dict[str, str]:
        """The headers to send, in the clear. Never log them."""
        return _clear(self.headers)


def _clear(headers: Mapping[str, SecretStr | None]) -> dict[str, str]:
    return {
        name: value.get_secret_value()
        for name, value in headers.items()
        if value is not None and value.get_secret_value()
    }


class Endpoint(Request):
    """One metric of the gate and the monitor: each answer is one sample, 0 (good) or 1 (harm)."""

    name: FeatureKey = Field(description="The metric's name, unique within the feature.")
    summary: Line | None = Field(
        default=None, description="What this endpoint tells about the feature. Null: the name says it."
    )
    bypass_headers: Headers = Field(
        default_factory=dict,
        description=(
            "Headers that let a probe in while the feature is off for users; values are secret. One "
            "without a value is not sent: then the probe sees what users see."
        ),
    )
    latency_limit: Duration | None = Field(
        default=None,
        gt=timedelta(0),
        description="An answer that takes longer is harm. Null: only the timeout limits it.",
    )

    @model_validator(mode="after")
    def _limit_below_timeout(self) -> Self:
        if self.latency_limit is not None and self.latency_limit > self.timeout:
            raise ValueError("latency_limit must not be longer than timeout")
        return self

    def sent_headers(self) -> dict[str, str]:
        """The headers to send, those of the bypass included, in the clear. Never log them."""
        return {**super().sent_headers(), **_clear(self.bypass_headers)}


class EffectCheck(Request):
    """The application's own read-back: its assertions hold exactly when the feature is off for its users."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.assertions:
            raise ValueError("give assertions that hold when the feature is off; without them an answer says nothing")
        return self
