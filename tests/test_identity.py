"""Who acts, and whether the process that watches is still that very one."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rollback.core.marker import Marker, parse
from rollback.core.model import Watcher
from rollback.identity import actor, is_alive, this_process

ROOT = Path(__file__).parents[1]
ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc: start times come from there")

SAY_WHO = (
    "from rollback.identity import this_process as w; import json, dataclasses as d; print(json.dumps(d.asdict(w())))"
)


def child(code: str) -> subprocess.Popen[str]:
    """A process that says who it is on its first line and then waits for its input to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{SAY_WHO}; import sys; sys.stdout.flush(); {code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin
    assert process.stdout
    return process


def watcher_of(process: subprocess.Popen[str]) -> Watcher:
    assert process.stdout
    return Watcher(**json.loads(process.stdout.readline()))


# -- the actor -----------------------------------------------------------------------------------------------


def test_without_a_name_the_account_acts_and_the_system_vouches_for_it() -> None:
    for nothing in (None, "", "  ", "///"):
        assert (actor(nothing).name, actor(nothing).authenticated) == (ACCOUNT, "os")
        assert not actor(nothing).is_claimed


def test_a_name_that_somebody_typed_is_claimed_unless_it_is_the_accounts_own() -> None:
    assert actor("somebody-else").is_claimed
    assert actor("somebody-else").name == "somebody-else"
    assert not actor(ACCOUNT).is_claimed


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("alex miller", "alex-miller"),
        ("alex@example.org", "alex@example.org"),
        ("DOMAIN\\alex", "DOMAIN-alex"),
        ("\x1b[31malex\n\n", "31malex"),
        ("rollback:sm-1:kill-9-ff", "rollback-sm-1-kill-9-ff"),
        ("älex", "lex"),
        ("x" * 500, "x" * 64),
    ],
)
def test_a_claimed_name_is_one_short_clean_word(typed: str, name: str) -> None:
    found = actor(typed)
    assert (found.name, found.is_claimed) == (name, True)
    read = parse(str(Marker("sm-1", "kill-1-ab", found.name, "2026-11-23T09:00:00Z")))
    assert read is not None
    assert (read.actor, read.at) == (name, "2026-11-23T09:00:00Z")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_name_is_told_by_its_number() -> None:
    code = "import os, pwd; from rollback.identity import actor; os.setuid(54321); print(actor(None).name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "uid-54321\n"


# -- the watcher ---------------------------------------------------------------------------------------------


def test_this_process_lives() -> None:
    me = this_process()
    assert (me.host, me.pid) == (os.uname().nodename, os.getpid())
    assert is_alive(me) is True


def test_a_process_lives_until_it_ends() -> None:
    with child("sys.stdin.read()") as process:
        watcher = watcher_of(process)
        assert watcher.pid == process.pid
        assert is_alive(watcher) is True
        process.communicate()
        assert is_alive(watcher) is False


@needs_proc
def test_a_process_that_only_waits_to_be_reaped_is_dead() -> None:
    with child("sys.stdin.read()") as process:
        watcher = watcher_of(process)
        assert process.stdin
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}").exists(), "it must still be there, as a zombie"
        assert is_alive(watcher) is False


@needs_proc
def test_a_number_that_was_given_to_another_process_since_is_another_process() -> None:
    me = this_process()
    boot, _, started = me.started.rpartition(":")
    assert is_alive(replace(me, started=f"{boot}:{int(started) - 1}")) is False
    assert is_alive(replace(me, started=f"another-boot:{started}")) is False


def test_a_process_on_another_machine_cannot_be_looked_at() -> None:
    assert is_alive(replace(this_process(), host="another-host")) is None


@needs_proc
def test_a_process_may_have_any_name_even_one_that_looks_like_a_zombie() -> None:
    rename = "open('/proc/self/comm', 'wb').write(b'\\xff) Z 1 (\\xfe')"
    with child(f"{rename}; print('named', flush=True); sys.stdin.read()") as process:
        watcher = watcher_of(process)
        assert process.stdout
        assert process.stdout.readline() == "named\n"
        assert b"\xff) Z 1" in Path(f"/proc/{process.pid}/stat").read_bytes()
        assert is_alive(watcher) is True
        process.communicate()
        assert is_alive(watcher) is False
