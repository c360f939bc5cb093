"""How Flipt's gateway answers errors and reads JSON: status codes, messages, and protobuf's leniency."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rollback.sandbox.wire import Answer, json_answer

INVALID = 3
NOT_FOUND = 5
ALREADY_EXISTS = 6
ABORTED = 10
UNIMPLEMENTED = 12
INTERNAL = 13
UNAUTHENTICATED = 16

STATUS = {INVALID: 400, NOT_FOUND: 404, ALREADY_EXISTS: 409, ABORTED: 409, UNIMPLEMENTED: 501, INTERNAL: 500,
          UNAUTHENTICATED: 401}  # fmt: skip

BAD_VALUES = "invalid values for key(s) in json body"


class RpcError(Exception):
    """An error as Flipt answers it: a gRPC code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def answer(self) -> Answer:
        """The HTTP answer. A 401 repeats its message in a header, as the gateway does."""
        extra = {"www_authenticate": self.message} if self.code == UNAUTHENTICATED else {}
        body = {"code": self.code, "message": self.message, "details": []}
        return json_answer(body, STATUS[self.code], **extra)


def invalid(message: str) -> RpcError:
    """A request that the server refuses as wrong: 400."""
    return RpcError(INVALID, message)


def not_found(what: str) -> RpcError:
    """Something that is not there: 404."""
    return RpcError(NOT_FOUND, f"{what} not found")


def empty_field(name: str) -> RpcError:
    """A field that must not be empty."""
    return invalid(f"invalid field {name}: must not be empty")


def bad_field(name: str, why: str) -> RpcError:
    """A field with a value that is refused."""
    return invalid(f"invalid field {name}: {why}")


class Body:
    """A JSON object read as protobuf would: null is absent, names in camel or snake case, types checked."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    @classmethod
    def parse(cls, body: bytes) -> Body:
        """The body of a request; an empty one counts as `{}`. RpcError (400) when it is no JSON object."""
        if not body.strip():
            return cls({})
        try:
            document = json.loads(body)
        except ValueError as error:
            raise invalid(f"invalid character in JSON body: {error}") from error
        if not isinstance(document, dict):
            raise invalid(BAD_VALUES)
        return cls(document)

    def raw(self, name: str) -> Any:
        """The value under a camel-case name, or under its snake-case form; None when absent."""
        value = self._document.get(name)
        if value is not None:
            return value
        return self._document.get("".join(f"_{char.lower()}" if char.isupper() else char for char in name))

    def has(self, name: str) -> bool:
        """Is it there, and not null?"""
        return self.raw(name) is not None

    def text(self, name: str) -> str:
        """A string; "" when absent."""
        return str(self._typed(name, str, ""))

    def flag(self, name: str) -> bool:
        """A boolean; False when absent."""
        return bool(self._typed(name, bool, False))

    def number(self, name: str) -> float:
        """A float of 32 bits; 0 when absent. Numbers may come as text."""
        value = self.raw(name)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise invalid(BAD_VALUES)
        try:
            return float32(float(value))
        except (ValueError, OverflowError) as error:
            raise invalid(BAD_VALUES) from error

    def whole(self, name: str) -> int:
        """An integer; 0 when absent."""
        value = self.number(name)
        if value != int(value):
            raise invalid(BAD_VALUES)
        return int(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        values = self._typed(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise invalid(BAD_VALUES)
        return tuple(values)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`, by name or by number; the first one when absent or unknown."""
        value = self.raw(name)
        if isinstance(value, int) and 0 <= value < len(choices):
            return choices[value]
        if value is not None and not isinstance(value, str | int):
            raise invalid(BAD_VALUES)
        return next((choice for choice in choices if choice == value), choices[0])

    def nested(self, name: str) -> Body | None:
        """An object; None when absent."""
        value = self._typed(name, dict, None)
        return None if value is None else Body(value)

    def each(self, name: str) -> list[Body]:
        """A list of objects; empty when absent."""
        values = self._typed(name, list, [])
        if not all(isinstance(value, dict) for value in values):
            raise invalid(BAD_VALUES)
        return [Body(value) for value in values]

    def struct(self, name: str) -> dict[str, Any] | None:
        """A free object, with its keys sorted; None when absent."""
        value = self._typed(name, dict, None)
        return None if value is None else plain(value)

    def strings(self, name: str) -> dict[str, str]:
        """An object whose values are all strings, such as an evaluation's context."""
        values = self._typed(name, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise invalid(BAD_VALUES)
        return dict(values)

    def _typed(self, name: str, kind: type, absent: Any) -> Any:
        value = self.raw(name)
        if value is None:
            return absent
        if not isinstance(value, kind):
            raise invalid(BAD_VALUES)
        return value


def plain(value: Any) -> Any:
    """A free JSON value as protobuf's Struct gives it back: keys sorted, whole numbers without a point."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return shortest(value) if isinstance(value, float) else value


def float32(value: float) -> float:
    """`value` rounded to 32 bits, which is what Flipt computes with. OverflowError when it is too large."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def shortest(value: float) -> int | float:
    """The number as Flipt prints a 32-bit float: the shortest text that means the same; no `.0`."""
    if value == int(value):
        return int(value)
    return next(
        (short for digits in range(1, 9) if float32(short := float(f"{value:.{digits}g}")) == float32(value)),
        value,
    )


def stamp(moment: datetime) -> str:
    """A time as protobuf prints it: UTC, with 0, 3 or 6 digits of a second."""
    base = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = moment.microsecond
    if micros % 1000:
        return f"{base}.{micros:06d}Z"
    return f"{base}.{micros // 1000:03d}Z" if micros else f"{base}Z"


def quoted(text: str) -> str:
    """`text` in double quotes, as Go's %q."""
    return json.dumps(text, ensure_ascii=False)
