"""Picks the adapters and builds what a command works with. The only module that knows them. Kill path: lazy imports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollback.clock import SystemClock
from rollback.core.history import Actor
from rollback.environment import lookup, read_dotenv
from rollback.errors import ConfigurationError
from rollback.flag_reference import FlagReference, read_by_flag, read_flag_reference
from rollback.history import History
from rollback.identity import actor as who
from rollback.kill_settings import KillSettings, read_settings
from rollback.session import Session

if TYPE_CHECKING:
    from rollback.adapters.flipt_http import FliptHttp, Tls, TokenSource
    from rollback.adapters.health_probes.combined import CombinedHealthProbe
    from rollback.adapters.ledgers.canonical import LedgerRow
    from rollback.core.history import Entry
    from rollback.core.model import Severity
    from rollback.core.policy import FeaturePolicy, SeverityPolicy
    from rollback.core.proof import ProofPart
    from rollback.history import HistoryView
    from rollback.ports import ClientView, FlagStore
    from rollback.prover import Prover

_INCIDENT = re.compile(r"(?P<feature>.+)-\d{8}T\d{6}Z-[0-9a-f]{4}")

AUTOMATION = "automation"
"""The policies' file that says who may send alerts; no case pins it."""

STREAM_WITHIN = 2.0
"""Seconds that one look waits for a stream to show the flag off; a stream saw a change after 1 ms (`flipt.md`)."""

OnWait = Callable[[float, Exception], None]
"""Told of each wait for a store that does not answer: seconds left, and why."""


class Waiting:
    """Where the stores report waits; a command that counts down puts its own `tell` in, for its own thread."""

    def __init__(self) -> None:
        self._of_thread: ContextVar[OnWait | None] = ContextVar("tell", default=None)

    @property
    def tell(self) -> OnWait | None:
        """Who is told in this thread; None: nobody."""
        return self._of_thread.get()

    @tell.setter
    def tell(self, tell: OnWait) -> None:
        self._of_thread.set(tell)

    def __call__(self, left: float, error: Exception) -> None:
        if tell := self.tell:
            tell(left, error)


waiting = Waiting()

_opened: ContextVar[list[FlagStore] | None] = ContextVar("opened", default=None)


@contextmanager
def closing() -> Iterator[None]:
    """Closes at its end every flag store that this thread opened in it: for a process that outlives its commands."""
    stores: list[FlagStore] = []
    token = _opened.set(stores)
    try:
        yield
    finally:
        _opened.reset(token)
        for store in stores:
            with suppress(Exception):
                store.close()


def environment() -> dict[str, str]:
    """The process's environment, filled from `.env` where it lacks something."""
    return lookup(os.environ, read_dotenv(".env", os.environ))


def open_session(name: str | None, flag: str | None, actor: str | Actor | None, warn: Callable[[str], None]) -> Session:
    """The session of the feature called `name` (key, alias or incident), or of the very flag `flag`.

    `actor` is a name that somebody typed, or somebody whom the caller has authenticated; None: this process's account.
    Raises `ConfigurationError` when neither names one, and when a production feature has no flag store of its own.
    """
    environ = environment()
    settings = read_settings(os.environ, forgiving=True)
    reference = _reference(settings, name, flag, environ)
    for problem in (*settings.problems, *reference.problems):
        warn(problem)
    if reference.production and "ROLLBACK_FLIPT_URL" not in environ:
        raise ConfigurationError(
            f"{reference.name} is a production feature, and ROLLBACK_FLIPT_URL does not say where its flag lives.",
            next="Set it, e.g. ROLLBACK_FLIPT_URL=https://flipt.example.gov; production never falls back to a file.",
        )
    history = History(Path(settings.journal), settings.ledger, warn)
    acts = actor if isinstance(actor, Actor) else who(actor or settings.actor)
    store = _store(settings)
    if (opened := _opened.get()) is not None:
        opened.append(store)
    return Session(settings, reference, store, history, SystemClock(), acts, warn)


def open_history(warn: Callable[[str], None]) -> tuple[KillSettings, History]:
    """Settings and history alone, for commands that read the record and need no flag."""
    settings = read_settings(os.environ, forgiving=True)
    return settings, History(Path(settings.journal), settings.ledger, warn)


def _reference(settings: KillSettings, name: str | None, flag: str | None, environ: dict[str, str]) -> FlagReference:
    if flag:
        return read_by_flag(settings.policies, flag, environ)
    if not name:
        raise ConfigurationError(
            "Which feature?", next="Name one, e.g. rollback disable sm, or --flag ENV/NAMESPACE/KEY."
        )
    incident = _INCIDENT.fullmatch(name)
    return read_flag_reference(settings.policies, incident["feature"] if incident else name, environ)


def policy_digest(session: Session) -> str:
    """A hash of what the case pins: the feature's file and the folder's severities, as they are written.

    Empty when the feature has no file. Reading them strictly would cost more than the whole kill.
    """
    if session.reference.file is None:
        return ""
    import hashlib

    digest = hashlib.sha256()
    severities = sorted(path for path in Path(session.settings.policies).glob("*.yaml") if path.stem != AUTOMATION)
    for path in (Path(session.reference.file), *severities):
        try:
            digest.update(path.read_bytes())
        except OSError:
            continue
    return digest.hexdigest()


def policies(session: Session, severity: Severity) -> tuple[FeaturePolicy, SeverityPolicy]:
    """The feature's whole policy and its policy for `severity`, read strictly."""
    from rollback.policy_files import load_policies

    loaded = load_policies(session.settings.policies, environment())
    feature = loaded.feature(session.feature)
    return feature.policy, loaded.severity(feature.policy, severity).policy


def probe(
    session: Session,
    feature: FeaturePolicy,
    *,
    exposed: Callable[[], float] = lambda: 100.0,
    expects: Callable[[], str] = lambda: "",
) -> CombinedHealthProbe:
    """What asks for the feature's health. `exposed` is the percentage of users that it is open to at this moment: what
    is counted of users is asked for from a share on. `expects` is the commit that should be deployed; empty: any."""
    from rollback.adapters.health_probes.of_policy import probe_of
    from rollback.policy_files import load_policies

    environ = environment()
    loaded = load_policies(session.settings.policies, environ).feature(session.feature)
    return probe_of(
        feature.health,
        clock=session.clock,
        environ=environ,
        defaulted=loaded.defaulted,
        unset=loaded.unset,
        production=feature.production,
        exposed=exposed,
        expects=expects,
    )


def manual_steps(session: Session) -> list[str]:
    """What a person can do by hand for this very flag."""
    from rollback.runbook import manual_steps as steps

    return steps(session.reference, session.settings.flag_urls, session.settings.flipt_api)


# -- the flag store ------------------------------------------------------------------------------------------------


def _store(settings: KillSettings) -> FlagStore:
    first = settings.flag_urls[0]
    if first.startswith("file:"):
        from rollback.adapters.flag_stores.declarative_file import DeclarativeFileFlagStore, path_of_url

        return DeclarativeFileFlagStore(path_of_url(first))
    from rollback.adapters.flag_stores.flipt_auto import flipt_flag_store

    return flipt_flag_store(_http(settings, first), settings.flipt_api, Path(f"{settings.journal}.api"))


def _http(settings: KillSettings, url: str) -> FliptHttp:
    from rollback.adapters.flipt_http import FliptHttp

    return FliptHttp(url, _token(settings), _tls(settings), timeout=settings.flipt_timeout, on_wait=waiting)


def _token(settings: KillSettings) -> TokenSource:
    from rollback.adapters.flipt_http import TokenSource

    if settings.flipt_token:
        return TokenSource.value(settings.flipt_token)
    if settings.flipt_token_file:
        return TokenSource.file(Path(settings.flipt_token_file))
    if settings.flipt_token_command:
        return TokenSource.command(settings.flipt_token_command)
    return TokenSource.none()


def _tls(settings: KillSettings) -> Tls:
    from rollback.adapters.flipt_http import Tls

    def path(text: str | None) -> Path | None:
        return Path(text) if text else None

    return Tls(path(settings.flipt_ca), path(settings.flipt_cert), path(settings.flipt_key))


# -- the proof -----------------------------------------------------------------------------------------------------


def replica_urls(settings: KillSettings) -> tuple[str, ...]:
    """The servers that clients read from; none when the flag lives in a file that no configured Flipt serves."""
    return tuple(url for url in settings.flag_urls if not url.startswith("file:"))


def engines(session: Session) -> list[ClientView]:
    """One engine per replica, not started yet."""
    from rollback.adapters.client_views.engine import EngineClientView

    settings = session.settings
    return [
        EngineClientView(url, token=_token(settings), tls=_tls(settings), timeout=settings.flipt_timeout)
        for url in replica_urls(settings)
    ]


def prover(session: Session, started: Sequence[ClientView] | None = None) -> Prover:
    """The prover for this session; `started` are the engines that run already."""
    from rollback.adapters.client_views.server_evaluation import ServerEvaluationClientView
    from rollback.adapters.flag_stores.flipt_json import FliptSnapshotReader
    from rollback.prover import Prover, Replica

    reference, settings = session.reference, session.settings
    views = engines(session) if started is None else started
    replicas = []
    for url, engine in zip(replica_urls(settings), views, strict=True):
        http = _http(settings, url)
        server = ServerEvaluationClientView(http, replica=url, timeout=settings.flipt_timeout)
        replicas.append(Replica(url, FliptSnapshotReader(http), (engine, server)))
    return Prover(
        reference.ref,
        reference.polarity,
        replicas,
        session.clock,
        poll_seconds=reference.poll_interval_seconds,
        stream=_stream(session) if reference.streaming else None,
        effect=_effect(session) if reference.effect_check is not None or reference.effect_check_unknown else None,
        file_only=None if replicas else f"off in the {session.store.where}; its readers are unknown",
        not_covered=tuple(surface.name for surface in reference.not_covered),
        readers_unknown=None if reference.clients_known else "the policy does not say who reads the flag",
    )


def _stream(session: Session) -> Callable[[float], list[ProofPart]]:
    """Asks a stream of each replica whether it shows the flag off."""
    from rollback.adapters.client_views.stream import StreamClientView
    from rollback.adapters.flag_stores.flipt_json import flag_from_snapshot
    from rollback.core.exposure import exposure
    from rollback.core.proof import stream_part

    reference, settings = session.reference, session.settings
    views = [
        StreamClientView(url, flag_from_snapshot, token=_token(settings), tls=_tls(settings), now=session.clock.now)
        for url in replica_urls(settings)
    ]

    def ask(deadline: float) -> list[ProofPart]:
        limit = min(deadline, session.clock.monotonic() + STREAM_WITHIN)
        parts = []
        for view in views:
            seen = view.wait_until_off(
                reference.ref, lambda flag: exposure(flag, reference.polarity).is_off, deadline=limit
            )
            parts.append(stream_part(view.replica, seen.seen_at, seen.why_not, session.clock.now()))
        return parts

    return ask


def _effect(session: Session) -> Callable[[float], ProofPart]:
    """The application's own read-back."""
    from rollback.adapters.client_views.effect_check import EffectCheck
    from rollback.core.policy import EffectCheck as EffectPolicy
    from rollback.core.proof import EFFECT, failed_part

    def cannot_be_asked(_deadline: float) -> ProofPart:
        return failed_part(EFFECT, "the policy has an effect check that cannot be asked here", session.clock.now())

    if session.reference.effect_check is None:
        return cannot_be_asked
    try:
        policy = EffectPolicy.model_validate(session.reference.effect_check)
    except ValueError:  # pydantic's, with the section's values in it: those may be secret
        return cannot_be_asked
    return EffectCheck(policy, now=session.clock.now).look


# -- the record ----------------------------------------------------------------------------------------------------


def history_rows(found: HistoryView) -> list[dict[str, Any]]:
    """The rows of the record as plain values; one that holds no entry any more is left out (`verify` names it)."""
    from rollback.adapters.ledgers.export import plain_rows

    rows: list[dict[str, Any]] = []
    items: list[LedgerRow | Entry] = [*found.rows, *found.pending]
    for item in items:
        with suppress(ValueError):
            rows.extend(plain_rows([item]))
    return rows


def exported(rows: Sequence[Mapping[str, Any]], form: str) -> str:
    """The rows as `json`, `csv` or `markdown`."""
    from rollback.adapters.ledgers import export

    return {"json": export.to_json, "csv": export.to_csv, "markdown": export.to_markdown}[form](rows)


def runbook(session: Session) -> str:
    """The runbook of the feature as Markdown."""
    from rollback.core.model import Severity
    from rollback.policy_files import load_policies
    from rollback.runbook import runbook_markdown

    loaded = load_policies(session.settings.policies, environment())
    feature = loaded.feature(session.feature).policy
    severities = [loaded.severity(feature, severity).policy for severity in Severity]
    return runbook_markdown(feature, severities, session.settings.flag_urls)
