"""What all models of policy files share: frozen, no unknown fields, every field documented."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from rollback.core.scalars import (
    DURATION_PATTERN,
    FEATURE_PATTERN,
    KEY_PATTERN,
    format_duration,
    parse_boolean,
    parse_duration,
)


class PolicyModel(BaseModel):
    """Base of every part of a policy file. Field names are the file's own words."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        serialize_by_alias=True,
        hide_input_in_errors=True,  # a wrong value may be a secret that came from a variable
        allow_inf_nan=False,
    )


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^({DURATION_PATTERN}|.*\\$\\{{.+\\}}.*)$"},
                {"type": "number", "minimum": 0},
            ],
            "examples": ["30s", "5m", "2h", "1d", 90],
        }
    ),
]
"""A `timedelta`; in files text such as `30s`, `5m`, `2h`, `1d`, or a number of seconds."""

Switch = Annotated[bool, BeforeValidator(parse_boolean)]
"""Yes or no: `true` and `false` alone."""

FlagKey = Annotated[str, Field(pattern=f"^{KEY_PATTERN}$", max_length=256)]
FeatureKey = Annotated[str, Field(pattern=f"^{FEATURE_PATTERN}$", max_length=100)]
Line = Annotated[str, Field(min_length=1, max_length=500)]
"""One line of text for people."""


def policy_hash(model: PolicyModel) -> str:
    """SHA-256, in hex, of what a policy says, as canonical JSON (RFC 8785): what a case pins.

    Two files that say the same in other words (`120s` and `2m`, another order of fields) have one hash. A secret
    counts as set or not set, so that a new token is not a new policy.
    """
    return hashlib.sha256(rfc8785.dumps(plain(model))).hexdigest()


def plain(model: PolicyModel) -> dict[str, Any]:
    """A model as JSON-ready data in the file's own words; secrets are stars."""
    return model.model_dump(mode="json", by_alias=True)
