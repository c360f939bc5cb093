"""JSON Schema of the policy files, for editors and other tools. `python -m rollback.policy_schema FOLDER` writes it."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from rollback.core.policy import AutomationPolicy, FeaturePolicy, PolicyModel, SeverityPolicy
from rollback.core.release_policy import ReleasePolicy
from rollback.core.scalars import format_duration

_FILES: dict[str, type[PolicyModel]] = {
    "feature": FeaturePolicy,
    "severity": SeverityPolicy,
    "automation": AutomationPolicy,
    "release": ReleasePolicy,
}
_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_OUTSIDE = ("title", "description", "default", "examples")


class _InFileWords(GenerateJsonSchema):
    """Writes defaults as a policy file has them: `1h`, not pydantic's `PT1H`."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, tuple):
            return [self.encode_default(one) for one in dft]
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def policy_schema() -> dict[str, dict[str, Any]]:
    """The schemas of the four kinds of file: `feature`, `severity`, `automation` and `release`.

    `${NAME}` is allowed wherever values are.
    """
    return {name: _schema(model) for name, model in _FILES.items()}


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Writes one file of each kind, e.g. `feature.json`, into `folder` and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in policy_schema().items():
        path = folder / f"{name}.json"
        path.write_text(schema_text(schema), encoding="utf-8")
        written.append(path)
    return written


def _schema(model: type[PolicyModel]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_InFileWords)
    identity = {name: schema["properties"][name] for name in ("feature", "aliases") if name in schema["properties"]}
    opened: dict[str, Any] = _with_variables(schema)
    opened["properties"].update(identity)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **opened}


def _with_variables(schema: Any) -> Any:
    """The schema with `${NAME}` allowed in place of every number, truth value and constrained text."""
    if isinstance(schema, list):
        return [_with_variables(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # pydantic writes the bounds of durations under its own words, which mean nothing in a schema.
    schema = {key: value for key, value in schema.items() if key not in ("gt", "ge") or isinstance(value, dict)}
    if "properties" in schema:
        inner = {name: _with_variables(one) for name, one in schema["properties"].items()}
        rest = {key: _with_variables(value) for key, value in schema.items() if key != "properties"}
        return {**rest, "properties": inner}
    restricted = schema.get("type") in ("number", "integer", "boolean") or "pattern" in schema
    if restricted and "\\$\\{" not in str(schema.get("pattern")):
        outside = {key: value for key, value in schema.items() if key in _OUTSIDE}
        inside = {key: value for key, value in schema.items() if key not in _OUTSIDE}
        return {**outside, "anyOf": [inside, _VARIABLE]}
    return {key: _with_variables(value) for key, value in schema.items()}


if __name__ == "__main__":
    for _path in write_schemas(Path(sys.argv[1])):
        print(_path)
