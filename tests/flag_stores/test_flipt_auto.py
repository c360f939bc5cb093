"""Which version answers is found out once, remembered, and healed when the memory is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rollback.adapters.flag_stores.flipt_auto import FliptAutoFlagStore, flipt_flag_store
from rollback.adapters.flag_stores.flipt_v1 import FliptV1FlagStore
from rollback.adapters.flag_stores.flipt_v2 import FliptV2FlagStore
from rollback.adapters.flipt_http import FliptHttp
from rollback.core.flag import FlagRef
from rollback.errors import ConfigurationError, FlagMissing, StoreRefused
from rollback.sandbox import FliptServer
from tests.contracts.flag_store_benches import BOOLEAN, SEED
from tests.flag_stores.changes import kill
from tests.flag_stores.raw_server import RawServer


def soon() -> float:
    return time.monotonic() + 5


def read_by(server: FliptServer, memory: Path | None, ref: FlagRef = BOOLEAN) -> int:
    """How many requests a new process needs for one read."""
    store = FliptAutoFlagStore(FliptHttp(server.url), memory)
    before = server.count()
    try:
        store.read(ref, deadline=soon())
    finally:
        store.close()
    return server.count() - before


@pytest.mark.parametrize(("api", "first", "later"), [("v1", 3, 2), ("v2", 1, 1)])
def test_the_next_run_pays_no_extra_round_trip(api: str, first: int, later: int, tmp_path: Path) -> None:
    memory = tmp_path / "api.json"
    with FliptServer(api=api, seed=SEED) as server:
        assert [read_by(server, memory), read_by(server, memory)] == [first, later]
        assert json.loads(memory.read_text()) == {server.url: api}
    assert list(tmp_path.iterdir()) == [memory]


def test_the_store_says_which_version_it_found_and_writes_with_it() -> None:
    for api in ("v1", "v2"):
        with FliptServer(api=api, seed=SEED) as server:
            store = FliptAutoFlagStore(FliptHttp(server.url))
            assert store.where == f"flipt {server.url}"
            base = store.read(BOOLEAN, deadline=soon())
            assert store.where == f"flipt {api} {server.url}"
            after = store.write(base, kill(base.config), deadline=soon())
            assert after.config.rollouts == kill(base.config).rollouts
            store.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"%s": "v3"}', '{"%s": 7}', "\x00"])
def test_a_memory_that_makes_no_sense_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    memory = tmp_path / "api.json"
    with FliptServer(api="v1", seed=SEED) as server:
        memory.write_text(content.replace("%s", server.url))
        assert read_by(server, memory) == 3
        assert json.loads(memory.read_text())[server.url] == "v1"


@pytest.mark.parametrize(("api", "wrong"), [("v1", "v2"), ("v2", "v1")])
def test_a_server_that_has_another_version_now_is_found_out_again(api: str, wrong: str, tmp_path: Path) -> None:
    memory = tmp_path / "api.json"
    with FliptServer(api=api, seed=SEED) as server:
        memory.write_text(json.dumps({server.url: wrong, "https://other": "v1"}))
        read_by(server, memory)
        assert json.loads(memory.read_text()) == {server.url: api, "https://other": "v1"}


def test_another_environment_is_asked_of_the_server_whatever_is_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "api.json"
    seed = {
        "environments": {"staging": {"namespaces": {"mhv": {"flags": [{"key": "sm", "type": "BOOLEAN_FLAG_TYPE"}]}}}}
    }
    with FliptServer(api="v2", seed=seed) as server:
        memory.write_text(json.dumps({server.url: "v1"}))
        assert read_by(server, memory, FlagRef("staging", "mhv", "sm")) == 1
    with FliptServer(api="v1", seed=SEED) as server, pytest.raises(FlagMissing, match="v1 has only default"):
        read_by(server, memory, FlagRef("staging", "mhv", "sm"))


@pytest.mark.parametrize("memory", ["no-such-folder/api.json", "folder"])
def test_a_memory_that_cannot_be_written_stands_in_nobodys_way(memory: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with FliptServer(api="v1", seed=SEED) as server:
        assert read_by(server, tmp_path / memory) == 3


def test_a_missing_flag_is_missing_and_not_looked_for_in_the_other_version() -> None:
    with FliptServer(api="v2", seed=SEED) as server:
        store = FliptAutoFlagStore(FliptHttp(server.url))
        with pytest.raises(FlagMissing):
            store.read(FlagRef("default", "mhv", "nope"), deadline=soon())
        assert server.count() == 1
        store.close()


def test_what_is_no_flipt_at_all_is_refused_in_clear_words() -> None:
    with RawServer(lambda visit: visit.answer(404, b"404 page not found", content_type="text/plain")) as server:
        store = FliptAutoFlagStore(FliptHttp(server.url))
        with pytest.raises(StoreRefused, match="404 page not found") as caught:
            store.read(BOOLEAN, deadline=soon())
        store.close()
    assert "Is this a Flipt" in caught.value.next
    assert len(server.visits) == 2


def test_the_setting_picks_the_store() -> None:
    http = FliptHttp("http://127.0.0.1:9")
    assert isinstance(flipt_flag_store(http, "auto"), FliptAutoFlagStore)
    assert isinstance(flipt_flag_store(http, "v1"), FliptV1FlagStore)
    assert isinstance(flipt_flag_store(http, "v2"), FliptV2FlagStore)
    with pytest.raises(ConfigurationError, match="v3"):
        flipt_flag_store(http, "v3")
