"""Random flags and questions to compare the stand-in with the engine of Flipt's SDKs.

Left out are the values on which a real server and the engine are known to differ: numbers that are not whole,
boolean words other than `true` and `false`, dates without a time, and white space around values.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

NAMESPACE = "mhv"
WORDS = ["veteran", "caregiver", "staff", "vet", "an", "v", "Veteran"]
NUMBERS = ["-3", "0", "1", "5", "05", "42", "1000000"]
BOOLEANS = ["true", "false"]
MOMENTS = ["2026-01-01T00:00:00Z", "2026-06-01T12:00:00+02:00", "2026-06-01T10:00:00Z", "2026-11-23T08:00:00-05:00"]
COMPARED = ["eq", "neq", "lt", "lte", "gt", "gte", "present", "notpresent"]
TEXTUAL = ["eq", "neq", "empty", "notempty", "prefix", "suffix", "contains", "notcontains", "isoneof", "isnotoneof"]
OPERATORS = {
    "STRING": TEXTUAL,
    "NUMBER": [*COMPARED, "isoneof", "isnotoneof"],
    "BOOLEAN": ["true", "false", "present", "notpresent"],
    "DATETIME": COMPARED,
    "ENTITY_ID": TEXTUAL,
}
POOLS = {"STRING": WORDS, "NUMBER": NUMBERS, "BOOLEAN": BOOLEANS, "DATETIME": MOMENTS}
PROPERTIES = {"STRING": "role", "NUMBER": "age", "BOOLEAN": "enrolled", "DATETIME": "since", "ENTITY_ID": "entityId"}
PERCENTAGES = [0, 0.4, 1, 1.5, 12, 25, 33.3, 50, 75, 99, 99.01, 100]
WHOLE_SHARES = [[100], [50, 50], [25, 75], [20, 30, 50], [0, 100], [10, 20, 70], [0]]
OPERATOR_NAMES = ["OR_SEGMENT_OPERATOR", "AND_SEGMENT_OPERATOR"]

Question = tuple[str, str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class RandomFlags:
    """Flags of one namespace, and whom to ask them about."""

    seed: dict[str, Any]
    questions: list[Question]


class Generator:
    """Makes flags from a seed. `several`: rules with more than one segment too (v1's snapshot breaks those)."""

    def __init__(self, seed: int, several: bool) -> None:
        self._random = random.Random(seed)
        self._several = several

    def flags(self, count: int, entities: int) -> RandomFlags:
        """`count` flags and `entities` questions about each."""
        segments = [self._segment(number) for number in range(60)]
        keys = [segment["key"] for segment in segments]
        flags = [
            self._boolean(f"flag-{number}", keys) if number % 4 else self._variant(f"flag-{number}", keys)
            for number in range(count)
        ]
        questions = [(flag["key"], self._entity(), self._context()) for flag in flags for _ in range(entities)]
        return RandomFlags({"namespaces": {NAMESPACE: {"flags": flags, "segments": segments}}}, questions)

    def _segment(self, number: int) -> dict[str, Any]:
        constraints = [self._constraint() for _ in range(self._random.choice([0, 1, 1, 2, 3]))]
        match_type = self._random.choice(["ANY_MATCH_TYPE", "ALL_MATCH_TYPE"])
        return {"key": f"segment-{number}", "match_type": match_type, "constraints": constraints}

    def _constraint(self) -> dict[str, str]:
        kind = self._random.choice(list(OPERATORS))
        operator = self._random.choice(OPERATORS[kind])
        pool = POOLS.get(kind, ["entity-1", "entity-22", "entity", "7"])
        value = self._random.choice(pool)
        if operator in ("isoneof", "isnotoneof"):
            values: list[Any] = self._random.sample(pool, 2)
            value = json.dumps([int(one) for one in values] if kind == "NUMBER" else values)
        return {
            "type": f"{kind}_COMPARISON_TYPE",
            "property": PROPERTIES[kind],
            "operator": operator,
            "value": value,
        }

    def _boolean(self, key: str, segments: list[str]) -> dict[str, Any]:
        rollouts = [self._rollout(segments) for _ in range(self._random.randint(0, 4))]
        enabled = self._random.random() < 0.5
        return {"key": key, "type": "BOOLEAN_FLAG_TYPE", "enabled": enabled, "rollouts": rollouts}

    def _rollout(self, segments: list[str]) -> dict[str, Any]:
        value = self._random.random() < 0.5
        if self._random.random() < 0.5:
            return {"threshold": {"percentage": self._random.choice(PERCENTAGES), "value": value}}
        return {"segment": {**self._named(segments, several=True), "value": value}}

    def _variant(self, key: str, segments: list[str]) -> dict[str, Any]:
        variants: list[dict[str, Any]] = [
            {"key": name, "attachment": {"is": name}} for name in ("blue", "green", "red")
        ]
        if self._random.random() < 0.5:
            self._random.choice(variants)["default"] = True
        rules = [
            {"segment": self._named(segments, self._several), "distributions": self._shares(variants)}
            for _ in range(self._random.randint(0, 3))
        ]
        enabled = self._random.random() < 0.8
        return {
            "key": key,
            "type": "VARIANT_FLAG_TYPE",
            "enabled": enabled,
            "variants": variants,
            "rules": rules,
        }

    def _shares(self, variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
        shares = self._random.choice(WHOLE_SHARES)
        return [{"variant": variant["key"], "rollout": share} for variant, share in zip(variants, shares, strict=False)]

    def _named(self, segments: list[str], several: bool) -> dict[str, Any]:
        count = self._random.choice([1, 2, 3]) if several else 1
        keys = self._random.sample(segments, count)
        return {"keys": keys, "operator": self._random.choice(OPERATOR_NAMES)}

    def _entity(self) -> str:
        return f"entity-{self._random.randrange(10_000)}"

    def _context(self) -> dict[str, str]:
        """Some properties, some of them empty, some of another type than the constraints expect."""
        context: dict[str, str] = {}
        for kind, name in PROPERTIES.items():
            draw = self._random.random()
            if kind == "ENTITY_ID" or draw < 0.3:
                continue
            if draw < 0.4:
                context[name] = ""
            elif draw < 0.45:
                context[name] = "something else"
            else:
                context[name] = self._random.choice(POOLS[kind])
        return context
