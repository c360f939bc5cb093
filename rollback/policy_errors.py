"""What is wrong with a policy file, as `file:line: what is wrong; what to do`, all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rollback.core.policy import PolicyModel
from rollback.errors import ConfigurationError
from rollback.policy_values import Values
from rollback.policy_yaml import Document, Path, Problem, dotted


@dataclass(frozen=True, slots=True)
class Located:
    """One problem of one file. `line` counts from 1."""

    file: FilePath
    line: int
    message: str
    next: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}{f'; {self.next}' if self.next else ''}"


class PolicyFileError(ConfigurationError):
    """A policy file cannot be used; `located` has everything that is wrong with it, in the file's order."""

    code = "policy_file"

    def __init__(self, file: FilePath, problems: Iterable[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: problem.line or 1)
        self.located = tuple(Located(file, one.line or 1, one.message, one.next) for one in ordered)
        super().__init__(
            "\n".join(map(str, self.located)), next=("correct the file; rollback policy lint looks at all of them")
        )


def problems_of(error: ValidationError, model: type[PolicyModel], document: Document, values: Values) -> list[Problem]:
    """A model's complaints in the words of the file. Values are never quoted: they may come from secrets."""
    found: dict[Path, Problem] = {}
    for detail in error.errors(include_url=False, include_input=False):
        path = _path_in_file(detail["loc"], document, missing=detail["type"] == "missing")
        if path in values.wrong:
            continue
        problem = _problem(detail, path, model, document, values)
        known = found.get(path)
        if known is None:
            found[path] = problem
        elif problem.message not in known.message and path not in values.unset:
            found[path] = Problem(known.line, f"{known.message}, or {problem.message}", known.next, path)
    return list(found.values())


def _path_in_file(loc: tuple[int | str, ...], document: Document, *, missing: bool) -> Path:
    """The part of pydantic's location that is in the file: it also names branches of unions."""
    for end in range(len(loc), -1, -1):
        if loc[:end] in document.lines:
            return loc if missing and end >= len(loc) - 1 else loc[:end]
    return loc if missing else ()


def _problem(detail: Any, path: Path, model: type[PolicyModel], document: Document, values: Values) -> Problem:
    line, where = document.line_of(path), dotted(path)
    kind = detail["type"]
    field = _field_at(model, path)
    means = field.description if field is not None and field.description else ""
    if path in values.unset:
        name = values.unset[path][0]
        return Problem(
            line, f"`{where}` needs the variable {name}, which is not set", f"set {name}, or give it a default", path
        )
    if kind == "missing":
        return Problem(line, f"`{where}` is missing", f"add it: {means}", path)
    if kind == "extra_forbidden":
        return Problem(line, f"unknown field `{where}`", _known_fields(model, path), path)
    said = str(detail["msg"]).removeprefix("Value error, ")
    said = said[0].lower() + said[1:]
    return Problem(line, f"`{where}`: {said}" if where else said, means, path)


def _known_fields(model: type[PolicyModel], path: Path) -> str:
    around: Any = model
    if path[:-1]:
        field = _field_at(model, path[:-1])
        around = None if field is None else field.annotation
    owner = _model_in(around)
    if owner is None:
        return "leave it out"
    known = [field.alias or name for name, field in owner.model_fields.items()]
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _field_at(model: type[PolicyModel], path: Path) -> FieldInfo | None:
    around: Any = model
    field: FieldInfo | None = None
    is_name = False
    for part in path:
        if isinstance(part, int):
            continue
        if is_name:  # a key of a mapping: what is below it is described by the same field
            is_name = False
            continue
        owner = _model_in(around)
        fields = {} if owner is None else owner.model_fields
        field = next((one for name, one in fields.items() if part in (one.alias or name,)), None)
        if field is None:
            return None
        around = field.annotation
        is_name = get_origin(around) is Mapping
    return field


def _model_in(annotation: Any) -> type[PolicyModel] | None:
    """The model that an annotation holds, also inside a tuple, a union or a constraint."""
    if isinstance(annotation, type) and issubclass(annotation, PolicyModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
