"""The engine's child process: whatever it does, it costs the proof and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollback.adapters.client_views.engine import COMMAND, EngineClientView
from rollback.adapters.flipt_http import Tls, TokenSource
from rollback.core.contexts import MAX_CONTEXTS, samples_for
from rollback.core.flag import FlagConfig, FlagRef, FlagType, Polarity, Rollout
from rollback.ports import Sample, Sighting
from rollback.sandbox import Fault, FliptServer
from tests.client_views.answer_server import AnswerServer, Asked, Reply, hang, json_reply, make_authority
from tests.client_views.documents import declarative, snapshot

REF = FlagRef("default", "mhv", "sm")
OFF = FlagConfig("sm", FlagType.BOOLEAN, True, (Rollout(False, percentage=100),))
SAMPLES = samples_for(OFF).samples
MakeView = Callable[..., EngineClientView]


@pytest.fixture
def view_of() -> Iterator[MakeView]:
    """Makes views and closes them."""
    made: list[EngineClientView] = []

    def make(*args: object, **options: object) -> EngineClientView:
        made.append(EngineClientView(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for view in made:
        view.close()


@pytest.fixture
def server() -> Iterator[AnswerServer]:
    """A server that shows a flag which is off."""
    with AnswerServer(lambda _: json_reply(snapshot([OFF]))) as found:
        yield found


def look(view: EngineClientView, seconds: float = 20.0) -> Sighting:
    return view.evaluate(REF, Polarity(), SAMPLES, deadline=time.monotonic() + seconds)


def said(sighting: Sighting) -> str:
    assert sighting.evaluated == 0
    assert not sighting.complete(len(SAMPLES))
    assert sighting.errors
    return " ".join(sighting.errors)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


READY = "print('{\"ready\": true}', flush=True)"
"""The first words of a child that has started."""

NEVER = "import signal; signal.pause()"
"""A child that does nothing more, until it is ended."""


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


# -- the child -------------------------------------------------------------------------------------------------


def test_preparing_twice_starts_one_child(view_of: MakeView, server: AnswerServer) -> None:
    view = view_of(server.url)
    view.prepare()
    first = view.pid
    view.prepare()
    assert view.pid == first
    assert look(view).complete(len(SAMPLES))
    assert view.pid == first


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("raise SystemExit(3)", "exit code 3"),
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("print('hello', flush=True); input(); input()", "no answer"),
        ("print('[1, 2]', flush=True); input(); input()", "no answer"),
        (f"{READY}; input(); print('{{\"id\": 1}}', flush=True); input()", "no answer"),
        (f"{READY}; input(); print('{{\"id\": 999}}', flush=True); input()", "no answer"),
        (f"{READY}; import os; os.close(1); input()", "the child process"),
        ("while True: print('x' * 65536, end='')", "too much"),
    ],
)
def test_a_child_that_dies_or_talks_nonsense_is_an_error(view_of: MakeView, program: str, words: str) -> None:
    view = view_of("http://127.0.0.1:1", command=python(program))
    assert words in said(look(view))


@pytest.mark.parametrize("program", [NEVER, "import sys\nwhile True: print('x' * 65536, file=sys.stderr)"])
def test_a_child_that_does_not_answer_is_an_error_at_the_deadline(view_of: MakeView, program: str) -> None:
    view = view_of("http://127.0.0.1:1", command=python(program))
    assert "in time" in said(look(view, seconds=0.5))


def test_a_child_that_starts_slowly_is_not_begun_anew(view_of: MakeView, server: AnswerServer, tmp_path: Path) -> None:
    """Where many start at once on a small machine, ending the slow ones would mean that none ever starts."""
    may_start = tmp_path / "start"
    os.mkfifo(may_start)
    module = COMMAND[-1]
    slow = f"import runpy; open({str(may_start)!r}).read(); runpy.run_module({module!r}, run_name='__main__')"
    view = view_of(server.url, command=python(slow))
    assert "in time" in said(look(view, seconds=0.2))
    started = view.pid
    assert "in time" in said(look(view, seconds=0.2))
    may_start.write_text("now")
    assert look(view, seconds=20).complete(len(SAMPLES))
    assert view.pid == started


def test_a_child_that_never_starts_is_given_up(view_of: MakeView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollback.adapters.client_views.child_process.START_WITHIN", 0.0)
    view = view_of("http://127.0.0.1:1", command=python(NEVER))
    view.prepare()
    first = view.pid
    assert "in time" in said(look(view, seconds=0.2))
    view.prepare()
    assert view.pid != first


def test_a_child_that_stops_listening_is_an_error(view_of: MakeView) -> None:
    view = view_of("http://127.0.0.1:1", command=python(f"import os; os.close(0); {READY}; {NEVER}"))
    more_than_a_pipe_holds = SAMPLES * 40
    seen = view.evaluate(REF, Polarity(), more_than_a_pipe_holds, deadline=time.monotonic() + 20)
    assert "closed its pipes" in said(seen)


def test_the_largest_round_of_samples_is_answered(view_of: MakeView, server: AnswerServer) -> None:
    samples = SAMPLES * (1 + MAX_CONTEXTS)
    seen = view_of(server.url).evaluate(REF, Polarity(), samples, deadline=time.monotonic() + 20)
    assert seen.complete(len(samples))


@pytest.mark.parametrize("command", [("/no/such/program",), ("",), (str(Path(__file__).parent),)])
def test_a_child_that_cannot_be_started_is_an_error_and_preparing_does_not_raise(
    view_of: MakeView, command: tuple[str, ...]
) -> None:
    view = view_of("http://127.0.0.1:1", command=command)
    view.prepare()
    assert "cannot be started" in said(look(view))


def test_a_child_that_was_killed_is_replaced_at_the_next_look(view_of: MakeView, server: AnswerServer) -> None:
    view = view_of(server.url)
    view.prepare()
    first = view.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)  # until it has ended, without reaping it
    assert look(view).complete(len(SAMPLES))
    assert view.pid != first


def test_a_child_that_is_killed_in_the_middle_is_an_error_and_the_next_look_works(
    view_of: MakeView, server: AnswerServer
) -> None:
    view = view_of(server.url)
    server.answer = hang
    seen: list[Sighting] = []
    asking = threading.Thread(target=lambda: seen.append(look(view)))
    asking.start()
    assert server.hanging.wait(5)
    assert view.pid is not None
    os.kill(view.pid, signal.SIGKILL)
    asking.join(5)
    assert "SIGKILL" in said(seen[0])
    server.answer = lambda _: json_reply(snapshot([OFF]))
    assert look(view).complete(len(SAMPLES))


def test_closing_in_the_middle_takes_no_time(view_of: MakeView, server: AnswerServer) -> None:
    view = view_of(server.url)
    server.answer = hang
    seen: list[Sighting] = []
    asking = threading.Thread(target=lambda: seen.append(look(view, seconds=30)))
    asking.start()
    assert server.hanging.wait(5)
    before = time.monotonic()
    view.close()
    assert time.monotonic() - before < 1.0  # a few milliseconds; the engine's own closing would take seconds
    asking.join(5)
    assert said(seen[0])
    assert "closed" in said(look(view))


def test_the_child_does_not_outlive_a_parent_that_is_killed(server: AnswerServer) -> None:
    server.answer = hang
    program = (
        "import sys, time\n"
        "from tests.client_views.test_engine import EngineClientView, look\n"
        "look(EngineClientView(sys.argv[1], timeout=60), seconds=60)\n"
    )
    parent = subprocess.Popen([*python(program), server.url], cwd=Path(__file__).parents[2])
    try:
        assert server.hanging.wait(20)
        assert not server.left.is_set()
    finally:
        parent.kill()
        parent.wait()
    assert server.left.wait(5)


def test_ctrl_c_is_for_the_parent(view_of: MakeView, server: AnswerServer) -> None:
    view = view_of(server.url)
    view.prepare()
    assert view.pid is not None
    assert os.getpgid(view.pid) != os.getpgid(os.getpid())


# -- the engine and the server ---------------------------------------------------------------------------------


def test_the_snapshot_is_fetched_as_sdks_do(view_of: MakeView, server: AnswerServer) -> None:
    assert look(view_of(server.url + "/")).complete(len(SAMPLES))
    first = server.asked[0]
    assert first.path == "/internal/v1/evaluation/snapshot/namespace/mhv"
    assert first.headers["x-flipt-environment"] == "default"
    assert "authorization" not in first.headers


@pytest.mark.parametrize(("given", "sent"), [("abc", "Bearer abc"), ("JWT abc.def", "JWT abc.def")])
def test_the_token_is_sent_by_its_scheme(view_of: MakeView, server: AnswerServer, given: str, sent: str) -> None:
    look(view_of(server.url, token=TokenSource.value(given)))
    assert server.asked[0].headers["authorization"] == sent


def test_a_wrong_token_is_an_error_that_does_not_show_it(view_of: MakeView) -> None:
    with FliptServer("v2", seed=declarative([OFF]), token="right") as flipt:
        words = said(look(view_of(flipt.url, token=TokenSource.value("wrong-token"))))
    assert "401" in words
    assert "wrong-token" not in words


def test_a_token_that_has_rotated_is_read_again(view_of: MakeView, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old-token")
    token = TokenSource.file(file)
    with FliptServer("v2", seed=declarative([OFF]), token="new-token") as flipt:
        view = view_of(flipt.url, token=token)
        assert "401" in said(look(view))
        file.write_text("new-token")
        assert look(view).complete(len(SAMPLES))


def test_a_token_that_cannot_be_read_is_an_error(view_of: MakeView, server: AnswerServer, tmp_path: Path) -> None:
    view = view_of(server.url, token=TokenSource.file(tmp_path / "gone"))
    assert "cannot be read" in said(look(view))
    assert server.asked == []


def test_neither_token_nor_settings_are_in_the_childs_environment_or_arguments(
    view_of: MakeView, server: AnswerServer
) -> None:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    environment = {**os.environ, "ROLLBACK_FLIPT_TOKEN": "the-secret", "RUST_BACKTRACE": "1"}
    view = view_of(server.url, token=TokenSource.value("the-secret"), environment=environment)
    assert look(view).complete(len(SAMPLES))
    process = Path(f"/proc/{view.pid}")
    passed = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    assert b"the-secret" not in passed
    assert b"RUST_BACKTRACE=" not in passed.replace(b"RUST_LIB_BACKTRACE=0", b"")


def test_a_refused_connection_is_said_at_once(view_of: MakeView) -> None:
    # The engine alone would try for four seconds, and then not say why.
    assert "refused" in said(look(view_of(f"http://127.0.0.1:{free_port()}")))


@pytest.mark.slow
def test_a_refused_connection_with_rust_backtrace_set_aborts_nothing(view_of: MakeView) -> None:
    # The proxy variable keeps the child from looking first, so that the engine itself meets the refusal. It aborts
    # (or does not) once it has tried for some four seconds.
    environment = {**os.environ, "RUST_BACKTRACE": "1", "https_proxy": "http://127.0.0.1:1"}
    view = view_of(f"http://127.0.0.1:{free_port()}", environment=environment, timeout=60)
    assert "retries" in said(look(view, seconds=60))


def test_a_server_that_hangs_costs_no_more_than_the_deadline(view_of: MakeView, server: AnswerServer) -> None:
    server.answer = hang
    before = time.monotonic()
    assert "in time" in said(look(view_of(server.url), seconds=0.5))
    assert time.monotonic() - before < 5.0


def test_a_look_is_bounded_also_when_the_deadline_is_far_away(view_of: MakeView, server: AnswerServer) -> None:
    server.answer = hang
    assert "in time" in said(look(view_of(server.url, timeout=0.5), seconds=3600))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>login</html>"),
        Reply(200, b""),
        Reply(302, b""),
        json_reply({"namespace": {"key": "mhv"}, "flags": []}),
        json_reply({"code": 5, "message": "not found"}, 404),
        json_reply(snapshot([OFF]) | {"flags": [{"key": "sm"}]}),
    ],
)
def test_an_answer_that_is_no_snapshot_with_the_flag_is_an_error_and_never_off(
    view_of: MakeView, server: AnswerServer, reply: Reply
) -> None:
    server.answer = lambda _: reply
    assert said(look(view_of(server.url)))


def test_one_sample_that_cannot_be_evaluated_is_an_error_and_the_others_count(
    view_of: MakeView, server: AnswerServer
) -> None:
    samples = (*SAMPLES[:3], Sample(" ", 0))
    seen = view_of(server.url).evaluate(REF, Polarity(), samples, deadline=time.monotonic() + 20)
    assert seen.evaluated == 3
    assert "entity_id" in seen.errors[0]


def test_a_child_that_ignores_the_end_of_its_input_is_ended_all_the_same(view_of: MakeView) -> None:
    view = view_of("http://127.0.0.1:1", command=python(NEVER))
    view.prepare()
    assert view.pid is not None
    process = view.pid
    view.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_server_that_fails_once_is_asked_again_by_the_engine(view_of: MakeView) -> None:
    with FliptServer("v2", seed=declarative([OFF])) as flipt:
        flipt.faults.add(Fault.status("GET", "/snapshot", status=503, times=1))
        assert look(view_of(flipt.url)).complete(len(SAMPLES))


def test_a_flag_that_turns_between_two_looks_is_seen_each_time(view_of: MakeView, server: AnswerServer) -> None:
    view = view_of(server.url)
    on = FlagConfig("sm", FlagType.BOOLEAN, True)
    for config, count in ((on, 100), (OFF, 0), (on, 100)):
        document = snapshot([config])
        server.answer = lambda _, document=document: json_reply(document)  # type: ignore[misc]
        assert len(look(view).served) == count


# -- TLS -------------------------------------------------------------------------------------------------------


def test_a_private_authority_is_trusted_when_it_is_given_and_only_then(view_of: MakeView, tmp_path: Path) -> None:
    authority, context = make_authority(tmp_path)

    def answer(_: Asked) -> Reply:
        return json_reply(snapshot([OFF]))

    with AnswerServer(answer, context) as server:
        assert look(view_of(server.url, tls=Tls(ca=authority))).complete(len(SAMPLES))
        assert said(look(view_of(server.url), seconds=1.0))
        assert len(server.asked) <= 2  # those of the first view


def test_an_authority_file_that_is_missing_is_an_error(view_of: MakeView, server: AnswerServer, tmp_path: Path) -> None:
    assert "does not exist" in said(look(view_of(server.url, tls=Tls(ca=tmp_path / "gone.pem"))))
