"""Random declarative files: off and back leaves the same bytes, and what others write meanwhile stays."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.core import exposure
from rollback.core.flag import FlagType
from rollback.errors import RollbackError
from tests.flag_stores import declarative_files as random_files
from tests.flag_stores.declarative_cases import KILL, ON, SECOND, content, kill, read, restore, soon, store_on

MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@MANY
@given(random_files.documents(), random_files.STYLES, st.data())
def test_off_and_back_leaves_the_same_bytes_in_any_file(
    document: Any, style: random_files.Style, data: st.DataObject
) -> None:
    """Whatever the file looks like: the first rollout is ours, the others' are as they were, and back is back."""
    with tempfile.TemporaryDirectory() as folder:
        store = store_on(Path(folder), random_files.render(document, style))
        before, original = read(store), content(store)
        off = kill(store)
        assert exposure.exposure(off.config, ON).is_off
        assert exposure.ours(off.config)[0].key == KILL.key
        assert off.config.rollouts[len(off.config.rollouts) - len(before.config.rollouts) :] == before.config.rollouts
        if data.draw(st.booleans(), label="a second kill"):
            kill(store, marker=SECOND)
        if off.config.type is FlagType.BOOLEAN and data.draw(st.booleans(), label="a step"):
            now = read(store)
            percent = data.draw(st.integers(0, 100))
            store.write(now, exposure.with_kill_at(now.config, KILL.key, percent), deadline=soon())
        restore(store)
        assert content(store) == original


@MANY
@given(random_files.documents(kind="BOOLEAN_FLAG_TYPE"), random_files.STYLES)
def test_what_others_write_while_it_is_off_stays(document: Any, style: random_files.Style) -> None:
    """Another flag's name, another rollout's number, a comment: all are there after the way back, and nothing else."""
    style = replace(style, kind="block", shape="v1")
    sm = next(one for one in document["flags"] if one["key"] == random_files.FLAG)
    sm["rollouts"] = [*sm.get("rollouts", []), {"threshold": {"percentage": 77.25, "value": True}}]
    document["flags"].append({"key": "last", "name": "LastOne", "type": "BOOLEAN_FLAG_TYPE", "enabled": False})

    def edited(text: bytes) -> bytes:
        changed = text.replace(b"77.25", b"78.5").replace(b"LastOne", b"Changed")
        return changed.replace(b"version:", b"# theirs" + style.newline.encode() + b"version:")

    with tempfile.TemporaryDirectory() as folder:
        store = store_on(Path(folder), random_files.render(document, style))
        original = content(store)
        kill(store)
        Path(store.path).write_bytes(edited(content(store)))
        assert any(one.percentage == 78.5 for one in read(store).config.rollouts)
        restore(store)
        assert content(store) == edited(original)


@MANY
@given(st.text("flags:-key sm{}[],\n\"'#&*!|> x0", max_size=120))
def test_no_text_makes_the_reader_fail_otherwise_than_with_its_own_errors(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = store_on(Path(folder), f"namespace: va\nflags:\n- key: sm\n{text}")
        before = content(store)
        try:
            kill(store)
        except RollbackError:
            assert content(store) == before
