"""The kill path loads httpx without its command line, and nothing else that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.flag_store_benches import SEED

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("click", "rich", "pygments", "tenacity", "pydantic", "structlog", "yaml", "ruamel", "flipt_client")

KILL = """
import json, sys, time
from rollback.adapters.flag_stores.flipt_auto import flipt_flag_store
from rollback.adapters.flipt_http import FliptHttp
from rollback.core.exposure import exposure, kill
from rollback.core.flag import FlagRef, Polarity
from rollback.core.marker import Marker

store = flipt_flag_store(FliptHttp(sys.argv[1]), "auto")
deadline = time.monotonic() + 10
base = store.read(FlagRef("default", "mhv", "sm"), deadline=deadline)
after = store.write(base, kill(base.config, Polarity(), Marker("i", "kill-1-x")), deadline=deadline)
store.close()
print(json.dumps({"off": exposure(after.config, Polarity()).is_off, "modules": sorted(sys.modules)}))
"""


def in_a_new_process(script: str, *arguments: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_kill_loads_nothing_heavy(api: str) -> None:
    from rollback.sandbox import FliptServer

    with FliptServer(api=api, seed=SEED) as server:
        told = in_a_new_process(KILL, server.url)
    assert told["off"] is True
    modules = told["modules"]
    assert isinstance(modules, list)
    assert "httpx" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_a_kill_whose_answer_is_lost_loads_what_it_needs_to_try_again() -> None:
    from rollback.sandbox import Fault, FliptServer

    with FliptServer(api="v2", seed=SEED) as server:
        server.faults.add(Fault.reset("PUT"))
        told = in_a_new_process(KILL, server.url)
    assert told["off"] is True
    modules = told["modules"]
    assert isinstance(modules, list)
    assert [name for name in HEAVY if name in modules] == ["tenacity"]


def test_httpx_itself_is_whole_afterwards_and_so_is_everybody_elses_click() -> None:
    script = """
import json, sys
from rollback.adapters.flipt_http import FliptHttp
import httpx, click, rich.console
print(json.dumps({"main": callable(httpx.main), "left": "httpx._main" in sys.modules, "client": bool(httpx.Client)}))
"""
    assert in_a_new_process(script) == {"main": True, "left": False, "client": True}


def test_httpx_that_was_loaded_before_is_left_as_it_is() -> None:
    script = """
import json, sys
import httpx
before = httpx
from rollback.adapters.flipt_http.lean import httpx as ours
print(json.dumps({"same": ours is before, "main": "httpx._main" in sys.modules}))
"""
    assert in_a_new_process(script) == {"same": True, "main": True}
