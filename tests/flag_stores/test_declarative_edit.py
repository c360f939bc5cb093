"""Edits of a file that is written in an unusual way: nothing else changes, or nothing is written at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.adapters.flag_stores.declarative_check import check_edit
from rollback.adapters.flag_stores.declarative_edit import edit_flag
from rollback.adapters.flag_stores.declarative_reading import parse_file, read_flag
from rollback.adapters.flag_stores.text_splice import CannotSplice, Edit, apply
from rollback.core import exposure
from rollback.core.flag import FlagConfig, FlagRef, Operator, Rollout
from rollback.errors import StoreRefused
from tests.flag_stores.declarative_cases import KILL, ON, SECOND, SM, content, kill, read, restore, soon, store_on

HEAD = "namespace: va\nflags:\n"
OURS = f'"{KILL}"'


def edited(text: str, ref: FlagRef = SM, **changes: object) -> str:
    """The file's text after a change of the flag's fields."""
    file = parse_file(text.encode(), "file x")
    return edit_flag(file, ref, replace(read_flag(file, ref), **changes))  # type: ignore[arg-type]


def config(text: str, ref: FlagRef = SM) -> FlagConfig:
    return read_flag(parse_file(text.encode(), "file x"), ref)


@pytest.mark.parametrize(
    "lines",
    [
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n",
        "- type: BOOLEAN_FLAG_TYPE\n  key: sm\n  rollouts: []\n",
        "- type: BOOLEAN_FLAG_TYPE\n  key: sm\n  rollouts: [ ]   # none yet\n",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:   # in order\n\n  # first\n  - threshold: {percentage: 5}",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n      - threshold:\n          percentage: 5\n\n\n",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: [{threshold: {percentage: 5}},   # a\n"
        "    {segment: {key: a}}, ]\n",
        "-\n  key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n  -\n    threshold: {percentage: 5}\n"
        "  - # b\n    segment: {key: a}\n",
        "- ? key\n  : sm\n  ? type\n  : BOOLEAN_FLAG_TYPE\n  ? rollouts\n  : - threshold: {percentage: 5}\n",
        "- rollouts:\n  - threshold: {percentage: 5}\n  type: BOOLEAN_FLAG_TYPE\n  key: sm\n",
        "- {key: sm, type: BOOLEAN_FLAG_TYPE}\n",
        "- {key: sm, type: BOOLEAN_FLAG_TYPE, rollouts: []}\n",
        "- {\n    key: sm, # c\n    type: BOOLEAN_FLAG_TYPE,\n  }\n",
        '- "key": "sm"\n  "type": "BOOLEAN_FLAG_TYPE"\n  "enabled": true\n  # last\n  "name": "SM"\n',
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  enabled: yes\n  description: |+\n    text\n\n\n- key: other\n",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n  - description: >\n      folded\n      text\n"
        "    threshold: {percentage: 5}\n",
        "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: &r\n  - threshold: {percentage: 5}\n",
        "- &all\n  key: sm\n  type: BOOLEAN_FLAG_TYPE\n",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_there_and_back_in_unusual_writing(tmp_path: Path, lines: str, newline: str) -> None:
    text = (HEAD + lines).replace("\n", newline)
    store = store_on(tmp_path, text)
    base = read(store).config
    off = kill(store).config
    assert off.rollouts == (Rollout(value=False, percentage=100.0, description=str(KILL)), *base.rollouts)
    restore(store)
    if "&r" in lines:
        assert config(content(store).decode()) == base  # written anew, since an alias could point there
    else:
        assert content(store).decode() == text


def test_json_stays_json(tmp_path: Path) -> None:
    data = {"namespace": "va", "flags": [{"key": "sm", "type": "BOOLEAN_FLAG_TYPE", "rollouts": [{"threshold": {}}]}]}
    for indent in (None, 2, "\t"):
        text = json.dumps(data, indent=indent)
        store = store_on(tmp_path, text, "features.json")
        kill(store)
        (first, second) = json.loads(content(store))["flags"][0]["rollouts"]
        assert first == {"description": str(KILL), "threshold": {"percentage": 100, "value": False}}
        assert second == {"threshold": {}}
        restore(store)
        assert content(store).decode() == text


def test_a_list_that_another_flag_shares_is_copied_and_the_other_flag_is_left_alone(tmp_path: Path) -> None:
    rollouts = "  rollouts: &r\n  - threshold: {percentage: 5, value: true}\n    unknown: {a: [1, x, ~]}\n"
    a = f"- key: a\n  type: BOOLEAN_FLAG_TYPE\n{rollouts}"
    store = store_on(tmp_path, f"{HEAD}{a}- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: *r\n")
    kill(store)
    text = content(store).decode()
    assert a in text
    assert text.endswith(', {"threshold": {"percentage": 5, "value": true}, "unknown": {"a": [1, "x", null]}}]\n')
    restore(store)
    assert read(store).config.rollouts == read(store, FlagRef("default", "va", "a")).config.rollouts


@pytest.mark.parametrize("item", ["{threshold: {percentage: 5}, extra: !x y}", "{<<: *t, description: x}"])
def test_a_shared_list_that_cannot_be_copied_whole_is_refused(item: str) -> None:
    a = f"- key: a\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: &r\n  - &t {{threshold: {{percentage: 1}}}}\n  - {item}\n"
    text = f"{HEAD}{a}- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: *r\n"
    with pytest.raises(StoreRefused, match="by an alias"):
        edited(text, rollouts=(ROLLOUTS[0], *config(text).rollouts))


def test_a_list_from_a_merge_key_is_overridden_in_this_flag_alone(tmp_path: Path) -> None:
    a = "- &a\n  key: a\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n  - threshold: {percentage: 5, value: true}\n"
    store = store_on(tmp_path, f"{HEAD}{a}- <<: *a\n  key: sm\n")
    off = kill(store)
    assert exposure.exposure(off.config, ON).is_off
    assert a in content(store).decode()
    assert len(off.config.rollouts) == 2


@pytest.mark.parametrize(
    "other", ["- <<: *a\n  key: b\n", "- key: b\n  rollouts: *r\n", "- key: b\n  metadata: {x: *t}\n"]
)
def test_where_a_kill_would_reach_another_flag_nothing_is_written(tmp_path: Path, other: str) -> None:
    sm = "- &a\n  key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts: &r\n  - threshold: &t {percentage: 5}\n"
    text = f"{HEAD}{sm}{other}"
    if "*t" in other:
        text = text.replace("&r", "")
    store = store_on(tmp_path, text)
    if "*t" in other:
        kill(store)
        assert content(store).decode().endswith(other)
        return
    with pytest.raises(StoreRefused, match="cannot be edited safely") as refusal:
        kill(store)
    assert '"percentage": 100' in refusal.value.next, "the manual step for this flag is there at once"
    assert content(store).decode() == text


# -- lists of rollouts -------------------------------------------------------------------------------------------

ROLLOUTS = [
    Rollout(value=True, percentage=5.0),
    Rollout(value=True, segments=("a",), description="two: 'words' #"),
    Rollout(value=False, segments=("a", "b"), operator=Operator.AND),
    Rollout(value=True, percentage=0.4, description="Ä «ü» \u2028 😀 \x7f"),
    Rollout(value=False, percentage=100.0, description=str(KILL)),
]
ROLLOUTS_2 = (Rollout(value=False, percentage=2.0),)
LISTS = {
    "block": "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n"
    "  # one\n  - threshold: {percentage: 1, value: true}  # 1\n    extra: x\n"
    "  - description: |\n      two\n    threshold:\n      percentage: 2\n      value: true\n  # three\n"
    "  - {description: three, threshold: {percentage: 3}}\n  # end\n- key: other\n",
    "flow": "- {key: sm, type: BOOLEAN_FLAG_TYPE, rollouts: [ {threshold: {percentage: 1, value: true}, extra: x},\n"
    "  {description: two, threshold: {percentage: 2, value: true}} , {threshold: {percentage: 3}}], name: x}\n",
}


def test_a_list_that_is_null_and_a_list_behind_other_text_can_be_filled_and_emptied() -> None:
    null = f"{HEAD}- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n  name: x\n"
    assert edited(edited(null, rollouts=tuple(ROLLOUTS[:1])), rollouts=()) == null.replace("rollouts:", "rollouts: []")
    explicit = f"{HEAD}- type: BOOLEAN_FLAG_TYPE\n  key: sm\n  ? rollouts\n  : - threshold: {{percentage: 5}}\n"
    for desired in ((*config(explicit).rollouts, ROLLOUTS[1]), (ROLLOUTS[1],), ()):
        assert config(edited(explicit, rollouts=desired)).rollouts == desired


@pytest.mark.parametrize("text", ["description: one", "description: *d", "name: x"])
def test_a_changed_description_of_a_rollout_is_read_back(text: str) -> None:
    flag = f"- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  description: &d x\n  rollouts:\n  - {text}\n    threshold: {{}}\n"
    (one,) = config(HEAD + flag).rollouts
    after = edited(HEAD + flag, rollouts=(replace(one, description="two"),))
    assert config(after).rollouts[0].description == "two"
    assert ("name: x" in after or '"name": "x"' in after) is (text == "name: x")


@settings(max_examples=80)
@given(st.sampled_from(sorted(LISTS)), st.data())
def test_any_list_of_rollouts_can_become_any_other(kind: str, data: st.DataObject) -> None:
    """Taken out, moved, changed, new: the result is read back as wished, whatever the order."""
    text = f"{HEAD}{LISTS[kind]}segments: [{{key: a}}, {{key: b}}]\n"
    current = config(text).rollouts
    changed = [
        replace(one, percentage=data.draw(st.sampled_from([one.percentage, 42.0])), value=data.draw(st.booleans()))
        for one in current
    ]
    kept = data.draw(st.lists(st.sampled_from(changed), unique_by=lambda one: one.wire, max_size=3))
    new = data.draw(st.lists(st.sampled_from(ROLLOUTS), max_size=3))
    desired = tuple(data.draw(st.permutations([*kept, *new])))
    result = edited(text, rollouts=desired)
    assert config(result).rollouts == desired
    kept_extra = any(one.wire == 0 for one in desired)
    assert ("extra" in result) is kept_extra, "what is not known of a rollout goes where the rollout goes"
    assert config(edited(result, rollouts=())).rollouts == ()


def test_others_comments_inside_the_list_stay_when_only_ours_was_in_it(tmp_path: Path) -> None:
    store = store_on(tmp_path, HEAD + "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  name: SM\n")
    kill(store)
    text = content(store).decode().replace("  rollouts:\n", "  rollouts:\n  # keep this\n")
    Path(store.path).write_text(text)
    restore(store)
    assert content(store).decode() == HEAD + "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  # keep this\n  name: SM\n"


# -- variant flags -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "description",
    [
        "",
        "description: plain text",
        "description: 'it''s quoted'",
        'description: "two\\nlines"',
        "description: ''",
        'description: ""',
        "description: |\n    one\n    two",
        "description: |-  # why\n    one\n\n    two",
        "description: >\n    folded\n    text",
        "description: >-\n    folded",
        "description: |+\n    kept\n\n",
        "description: plain over\n    two lines",
    ],
)
@pytest.mark.parametrize("enabled", ["enabled: true", "enabled: On", "enabled: FALSE", ""])
def test_a_variant_flag_comes_back_as_it_was_written(tmp_path: Path, description: str, enabled: str) -> None:
    lines = [line for line in (description, enabled) if line]
    rest = "".join(f"  {line}\n" for line in lines)
    text = f"{HEAD}- key: sm\n{rest}  name: SM\n  variants:\n  - key: x\n  - key: y   # the one\n    default: True\n"
    store = store_on(tmp_path, text)
    before = read(store).config
    off = kill(store).config
    assert (off.enabled, off.default_variant) == (False, None)
    assert exposure.ours(off)[0].key == KILL.key
    kill(store, marker=SECOND)
    assert exposure.ours(read(store).config)[0].key == SECOND.key
    restore(store)
    assert content(store).decode() == text
    assert read(store).config == before


def test_a_variant_flag_in_braces_comes_back_as_it_was_written(tmp_path: Path) -> None:
    for description in ("", "description: 'x', ", 'description: "", '):
        text = f"{HEAD}- {{key: sm, {description}enabled: true, variants: [{{key: x, default: true}}, {{key: y}}]}}\n"
        store = store_on(tmp_path, text)
        kill(store)
        restore(store)
        assert content(store).decode() == text


DESCRIPTIONS = [
    "plain",
    "''",
    "'it''s'",
    '"two\\nlines"',
    "|\n    one\n    two",
    "|2-  # why\n     indented\n    less",
    ">\n    folded\n    text",
    "|",
    "|+\n    kept\n\n",
    "~",
    f"'{KILL}'",
    f"{KILL}",
    f"|-\n    text\n    {KILL}",
    f"|-\n    {KILL}\n    text",
    f"plain\n\n    {KILL}",
    f"'quoted\n\n    {KILL}'",
    f">-\n    folded\n\n    {KILL}",
    f'"\\x74ext\\n{str(KILL)[:8]}\\x3a{str(KILL)[9:]}"',
]
WISHES = [
    "",
    "other",
    "plain",
    "two\nlines",
    str(SECOND),
    f"text\n{SECOND}",
    f"plain\n{SECOND}",
    f"folded\n{KILL}",
    " x ",
]


@pytest.mark.parametrize("written", DESCRIPTIONS)
@pytest.mark.parametrize("wished", WISHES)
@pytest.mark.parametrize("flow", [False, True])
def test_any_description_can_become_any_other(written: str, wished: str, flow: bool) -> None:
    if flow and ("\n" in written or written[0] in "|>" or "," in written):
        written = json.dumps(written)
    rest = f"{{key: sm, description: {written}, name: x}}" if flow else f"key: sm\n  description: {written}\n  name: x"
    text = f"{HEAD}- {rest}\n- key: other\n"
    result = edited(text, description=wished)
    assert config(result).description == wished
    assert result.endswith("- key: other\n")


def test_a_default_is_put_at_another_variant() -> None:
    text = f"{HEAD}- key: sm\n  variants:\n  - key: x\n    name: X\n  - {{key: y, default: true}}\n"
    after = edited(text, default_variant="x")
    assert "  - key: x\n    default: true\n    name: X\n  - {key: y, default: false}\n" in after
    assert config(after).default_variant == "x"


def test_enabled_can_be_set_where_it_is_not_written() -> None:
    assert "enabled: true" in edited(f"{HEAD}- key: sm\n  name: SM\n", enabled=True)
    assert "enabled: true" in edited(f"{HEAD}- key: sm\n  enabled:\n  name: SM\n", enabled=True)
    assert '{"enabled": true, key: sm}' in edited(f"{HEAD}- {{key: sm}}\n", enabled=True)


def test_a_description_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(StoreRefused):
        edited(f"{HEAD}- key: sm\n", description="half a pair \ud800")


def test_a_shared_description_or_variant_is_not_edited() -> None:
    text = f"{HEAD}- key: a\n  description: &d text\n  variants: [&v {{key: x, default: true}}]\n"
    for lines, change in (("description: *d", {"description": "x"}), ("variants: [*v]", {"default_variant": None})):
        with pytest.raises(StoreRefused, match="alias"):
            edited(f"{text}- key: sm\n  {lines}\n", **change)


def test_taking_the_last_item_out_of_a_file_without_a_last_line_break_adds_none() -> None:
    text = f"{HEAD}- key: sm\n  type: BOOLEAN_FLAG_TYPE\n  rollouts:\n  - threshold: {{percentage: 1}}"
    for newline in ("\n", "\r\n"):
        both = f"{text}\n  - threshold: {{percentage: 2}}".replace("\n", newline)
        assert edited(both, rollouts=config(both).rollouts[:1]) == text.replace("\n", newline)
        assert edited(text.replace("\n", newline), rollouts=config(both).rollouts[:1] + ROLLOUTS_2) == both.replace(
            "percentage: 2", "percentage: 2, value: false"
        )


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ('{"flags": [{"key": "sm"}]}', '{"flags": [{"key": "sm", enabled: true}]}', "JSON"),
        ("flags: [{key: sm}, {key: b, x: 1}]", "flags: [{key: sm, enabled: true}, {key: b, x: 2}]", "something else"),
        ("flags: [{key: sm}]", "flags: [{key: sm}]", "as wished"),
        ("flags: [{key: sm}, {key: b}]", "flags: [{key: b}, {key: sm, enabled: true}]", "another place"),
        ("flags: [{key: sm}]", "flags: [{key: sm", "cannot be read"),
        ("flags: [{key: sm, name: 'x'}]", "flags: [{key: sm, name: x, enabled: true}]", "something else"),
        (
            "flags: [{key: sm, type: BOOLEAN_FLAG_TYPE, rollouts: [{threshold: {}, extra: x}]}]",
            "flags: [{key: sm, type: BOOLEAN_FLAG_TYPE, rollouts: [{threshold: {}}], enabled: true}]",
            "something else",
        ),
    ],
)
def test_a_result_that_is_not_exactly_what_was_wished_does_not_count(before: str, after: str, why: str) -> None:
    """The check that stands behind every edit."""
    ref = FlagRef("default", "default", "sm")
    file = parse_file(before.encode(), "file x")
    with pytest.raises(CannotSplice, match=why):
        check_edit(file, ref, replace(config(before, ref), enabled=True), after)


def test_edits_that_meet_are_not_made() -> None:
    assert apply("abc", [Edit(1, 1, "x"), Edit(1, 2, ""), Edit(1, 1, "y")]) == "axyc"
    with pytest.raises(CannotSplice):
        apply("abc", [Edit(0, 2, ""), Edit(1, 1, "x")])


def test_a_kill_is_written_by_the_time_it_is_returned(tmp_path: Path) -> None:
    store = store_on(tmp_path, HEAD + "- key: sm\n  type: BOOLEAN_FLAG_TYPE\n")
    base = read(store)
    after = store.write(base, exposure.kill(base.config, ON, KILL), deadline=soon())
    assert after == read(store)
    assert OURS in content(store).decode()
