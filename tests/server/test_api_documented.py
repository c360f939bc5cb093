"""The page about the interface says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from rollback.server.api_commands import commands
from rollback.server.auth import PERMISSIONS
from rollback.server.problems import STATUSES
from tests.server.api_world import KeptHolds

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


def rows(title: str) -> dict[str, str]:
    """The first table under a heading: first column, without backticks, to second."""
    section = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| `(.+?)` \| (.+?) \|$", section, re.M)
    return dict(found)


def test_roles_are_those_of_the_program() -> None:
    told = {name: set(roles.split(", ")) for name, roles in rows("Tokens").items()}
    assert told == {name: {role.value for role in roles} for name, roles in PERMISSIONS.items()}


def test_codes_and_statuses_are_those_of_the_program() -> None:
    assert {code: int(status) for code, status in rows("Answers").items()} == dict(STATUSES)


def test_every_command_is_told() -> None:
    calls = PAGE.split("\n## Calls\n", 1)[1].split("\n## ", 1)[0]
    for name in ("disable", *commands(KeptHolds())):
        assert re.search(rf"[/`]{name}`", calls), name
