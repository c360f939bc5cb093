"""Against a server each command writes what it writes from here: the same lines, the same document, the same exit code.

Two worlds, alike and apart: one in which commands act from here, and one in which they go to a server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Cli, Result
from tests.e2e.worlds import World, world_in
from tests.server.api_world import ApiWorld, api_world

STORY: list[tuple[str, ...]] = [
    ("status", "sm"),
    ("status",),
    ("history", "sm"),
    ("note", "sm", "somebody looks"),
    ("open", "sm", "--severity", "low", "--reason", "typo", "--dry-run"),
    ("open", "sm", "--severity", "low", "--reason", "typo"),
    ("open", "sm", "--severity", "high", "--reason", "again"),
    ("raise", "sm", "--severity", "high", "--reason", "it spreads"),
    ("disable", "sm", "--dry-run"),
    ("disable", "sm", "--reason", "it is bad"),
    ("status", "sm"),
    ("fix", "sm", "abc123"),
    ("keep-off", "sm", "--reason", "audit"),
    ("enable", "sm", "--reason", "too early"),
    ("release", "sm", "--reason", "audit is done"),
    ("history", "sm", "--format", "markdown"),
    ("history", "--incident", "nosuch"),
    ("check", "sm"),
    ("enable", "sm", "--reason", "hope", "--dry-run"),
    ("enable", "sm", "--reason", "hope"),
    ("verify",),
    ("status", "nosuch"),
    ("disable", "nosuch"),
    ("disable", "--flag", "default/mhv/other", "--no-wait"),
    ("status", "--flag", "default/mhv/other"),
    ("adopt", "sm"),
    ("undo", "sm", "--reason", "too late"),
]
"""While the application is broken; what comes after it is mended: `MENDED`."""

MENDED: list[tuple[str, ...]] = [
    ("ci", "sm", "--fix", "def4567"),
    ("enable", "sm", "--reason", "a person begins it"),
    ("enable", "sm", "--reason", "nothing to do"),
    ("ci", "sm", "--fix", "def4567"),
    ("open", "sm", "--severity", "low", "--reason", "typo"),
    ("close", "sm", "--reason", "fixed"),
    ("status", "sm"),
]

NAMES = (
    (r"secure-messaging-\d{8}T\d{6}Z-[0-9a-f]{4}", "CASE"),
    (r"other-\d{8}T\d{6}Z-[0-9a-f]{4}", "CASE"),
    (r"http://127\.0\.0\.1:\d+", "FLIPT"),
    (r"/[^\s\"']*/policies", "POLICIES"),
    (r"(kill|cohort)-(\d+)-[0-9a-f]{8}", r"\1-\2-KEY"),
    (r"\d{4}-\d{2}-\d{2}T[\d:.]+(Z|\+00:00)", "TIME"),
    (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d{2}-\d{2} [\d:]+ [A-Z]{2,4}( \([\d:]+ UTC\))?", "WHEN"),
    (r"\d{8}T\d{12}-[0-9a-f]{8}", "ENTRY"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "HASH"),
    (r"\b(root|a-approver|a-responder|uid-\d+)\b", "WHO"),
    (r"\((claimed|token|os)\)", "KNOWN"),
    (r"(?<=\W)(os|token)(?=\W)|^(os|token)$", "KNOWN"),
    (r'""pid"":\d+', "PID"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:\d+", "STARTED"),
    (r"\b[0-9a-f]{16}\b", "DIGEST"),
    (r"E \S+ of \d+", "E n"),
    (r"\d+ samples|\d+ bad|\d+ missing|\d+ clean samples missing|\d+ entries|anchored up to \d+", "N"),
    (r"(?<![\w.])\d+(\.\d+)?(ms| ms| s| min)\b", "SPAN"),
    (r"[ \t]+", " "),
)
"""What differs between two runs of the same story: names, times, places, figures of the gate."""


def normal(text: str) -> list[str]:
    """The lines without what differs; lines of evidence, whose number depends on time, are one."""
    for pattern, name in NAMES:
        text = re.sub(pattern, name, text)
    lines = [line.strip() for line in text.splitlines()]
    moving = re.compile(r"\[[█░]+\]|^monitoring, |^(gate|check|step|cohort)[^:]*: |,fact,evidence,")
    return [line for line in lines if not moving.search(line)]


def shape(value: Any) -> Any:
    """A document without what differs: the same members of the same types, words and numbers of exits as they are."""
    if isinstance(value, dict):
        return {name: value[name] if name in ("exit", "state", "code") else shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else type(value).__name__
    if isinstance(value, str):
        return normal(value)
    return type(value).__name__


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path / "here", "v2") as world:
        yield world


@pytest.fixture
def there(tmp_path: Path) -> Iterator[ApiWorld]:
    with api_world(tmp_path / "there") as world:
        yield world


def compared(words: tuple[str, ...], local: Result, remote: Result) -> None:
    assert remote.code == local.code, f"{words}\n{local.all}\n{remote.all}"
    assert "Traceback" not in remote.all


@pytest.mark.slow
def test_a_whole_story_reads_the_same(here: World, there: ApiWorld) -> None:
    laptop = there.laptop(role="approver")
    for words in [*STORY, None, *MENDED]:
        if words is None:
            here.mend()
            there.world.mend()
            continue
        local, remote = here.cli.run(*words), laptop.run(*words)
        compared(words, local, remote)
        assert normal(remote.out) == normal(local.out), words
        assert normal(remote.err) == normal(local.err), words
    assert there.world.flag["rollouts"] == here.flag["rollouts"]
    assert "rollback:" not in str(here.flag["rollouts"]), "it is back"
    assert not (laptop.folder / "rollback.journal").exists(), "nothing is kept on the laptop"


@pytest.mark.slow
def test_a_whole_story_in_json_is_the_same_documents(here: World, there: ApiWorld) -> None:
    laptop = there.laptop(role="approver")
    for words in [*STORY, None, *MENDED]:
        if words is None:
            here.mend()
            there.world.mend()
            continue
        local, remote = here.cli.run(*words, "--json"), laptop.run(*words, "--json")
        compared(words, local, remote)
        assert shape(json.loads(remote.out)) == shape(json.loads(local.out)), words


def test_off_and_standing_read_the_same(here: World, there: ApiWorld) -> None:
    """The quick version of the story."""
    laptop = there.laptop()
    for words in (("disable", "sm", "--reason", "it is bad"), ("status", "sm"), ("fix", "sm", "abc123")):
        local, remote = here.cli.run(*words), laptop.run(*words)
        compared(words, local, remote)
        assert (normal(remote.out), normal(remote.err)) == (normal(local.out), normal(local.err)), words
        told = [cli.run(*words[:2], "--json").json if words[0] == "status" else {} for cli in (here.cli, laptop)]
        assert shape(told[1]) == shape(told[0])


def test_the_token_says_who_acts(there: ApiWorld) -> None:
    laptop: Cli = there.laptop(ROLLBACK_ACTOR="somebody-else")
    refused = laptop.run("note", "sm", "text", "--actor", "somebody-else").expect(2)
    assert "token says who acts" in refused.err
    laptop.run("note", "sm", "text").expect(0)
    row = there.history()[-1]
    assert (row["name"], row["actor"], row["authenticated"]) == ("note_added", "a-responder", "token")


def test_what_a_role_may_not_is_refused_in_one_sentence(there: ApiWorld) -> None:
    refused = there.laptop(role="viewer").run("disable", "sm", "--json").expect(3)
    assert refused.json["error"]["code"] == "forbidden"
    assert there.world.writes == 0


def test_secrets_do_not_leave_this_machine_in_a_reason(there: ApiWorld) -> None:
    there.laptop().run("note", "sm", "call jane.doe@example.org, token=abcdef123456").expect(0)
    text = there.history()[-1]["data"]["text"]
    assert "jane.doe" not in text
    assert "abcdef" not in text
