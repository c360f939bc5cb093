"""What `check` and `doctor` do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rollback import bootstrap
from rollback.clock import SystemClock
from rollback.commands.automation_findings import (
    armed_finding,
    automation_findings,
    loaded_policies,
    named_variables,
)
from rollback.commands.finding import Finding, tried
from rollback.commands.progress import ReturnProgress
from rollback.controller import Controller
from rollback.core.evidence import Judgement, Verdict
from rollback.core.ladder import plan
from rollback.core.model import Severity
from rollback.errors import RollbackError
from rollback.evidence_book import EvidenceBook, Stage
from rollback.kill_settings import read_settings
from rollback.output import Output
from rollback.prover import lacking_words
from rollback.raising import view
from rollback.session import Session
from rollback.words import world_line

if TYPE_CHECKING:
    from rollback.policy_files import Policies

NOT_HEALTHY = 4

LOOK_WITHIN = 5.0
"""Seconds that `doctor` waits for the flag, and again for its readers: somebody looks at the output."""


def check(feature: str, seconds: float | None, output: Output) -> int:
    """Observes until the gate would decide; keeps nothing."""
    progress = ReturnProgress(output)
    session = bootstrap.open_session(feature, None, None, output.warn)
    output.line(world_line(session.world))
    incident = Controller(session).incident
    severity = incident.severity if incident else Severity.CRITICAL
    policy_of_feature, policy = bootstrap.policies(session, severity)
    steps = max(
        1, len(plan(view(session).without_us, session.reference.polarity, [s.percent for s in policy.ladder]).rungs)
    )
    stage = Stage(0, steps, max(1, incident.attempt if incident else 1), incident.fix if incident else "", "check")
    book = EvidenceBook(stage, policy.gate.p0, policy.gate.alpha, policy.gate.harm_alpha, lambda _name, _data: None)
    limit = policy.gate.deadline.total_seconds() if seconds is None else seconds
    soak = min(policy.gate.minimum_soak.total_seconds(), limit)
    probe = bootstrap.probe(session, policy_of_feature)
    book.expect(probe.metrics)
    for name, why in probe.unknown.items():
        output.warn(f"{name} is never asked: {why}")
    if all(name in probe.unknown for name in probe.metrics):
        limit = 0.0  # nothing is ever asked, so there is nothing to wait for
    began = session.clock.monotonic()
    try:
        while True:
            book.observe(probe.measure())
            elapsed = session.clock.monotonic() - began
            judgement = book.judge(soaked=elapsed >= soak, expired=elapsed >= limit)
            rate = min((m.samples for m in judgement.metrics), default=0) / max(elapsed, 1e-3)
            progress.evidence(
                "check", judgement, rate=rate, soak_left=max(0.0, soak - elapsed), time_left=limit - elapsed
            )
            if judgement.final or judgement.verdict in (Verdict.HEALTHY, Verdict.UNHEALTHY):
                break
            session.clock.sleep(policy.gate.interval.total_seconds())
    finally:
        probe.close()
    return _verdict(output, session, judgement)


def _verdict(output: Output, session: Session, judgement: Judgement) -> int:
    code = 0 if judgement.verdict is Verdict.HEALTHY else NOT_HEALTHY
    output.line(f"{session.reference.name}: {judgement.verdict}.", fg="green" if code == 0 else "red", bold=True)
    for reason in judgement.reasons:
        output.line(f"  {reason}")
    if output.as_json:
        metrics = [
            {
                "name": metric.name,
                "samples": metric.samples,
                "bad": metric.harm,
                "missing": metric.missing,
                "log_e": metric.log_e,
                "log_bound": metric.bound,
                "clean_samples_missing": metric.clean_samples_missing,
            }
            for metric in judgement.metrics
        ]
        told = {"feature": session.feature, "verdict": judgement.verdict.value, "reasons": list(judgement.reasons)}
        output.document({**told, "metrics": metrics, "world": session.world, "exit": code})
    return code


def doctor(feature: str | None, output: Output, *, send_test_events: bool = False, server: str | None = None) -> int:
    """Looks at everything that a kill, its proof, a return and the automatic trigger will need.

    `send_test_events` also sends each open source's test event to the `server` (None: as `trial_events` says).
    """
    findings: list[Finding] = []
    for finding in _all(feature, output, send_test_events, server):
        findings.append(finding)
        mark = "ok  " if finding.exit_code == 0 else "FAIL"
        output.line(f"{mark} {finding.what}: {finding.detail}", fg="green" if finding.exit_code == 0 else "red")
        if finding.next and finding.exit_code:
            output.line(f"     {finding.next}")
    code = next((finding.exit_code for finding in findings if finding.exit_code), 0)
    if output.as_json:
        told = [{"what": f.what, "ok": f.exit_code == 0, "detail": f.detail, "next": f.next} for f in findings]
        output.document({"findings": told, "exit": code})
    return code


def _all(feature: str | None, output: Output, send_test_events: bool, server: str | None) -> Iterator[Finding]:
    yield tried("settings", _settings)
    yield tried("policies", _policies)
    yield tried("journal and ledger", lambda: _record(output))
    try:
        settings = read_settings(os.environ, forgiving=True)
    except RollbackError:
        return  # the first finding says why
    yield from automation_findings(settings, output.warn)
    loaded = loaded_policies(settings)
    for key in [feature] if feature else sorted(loaded.features if loaded else ()):
        yield from _feature(key, loaded, output)
    if send_test_events:
        from rollback.commands.trial_events import trial_findings

        yield from trial_findings(server, settings, output, SystemClock())


def _settings() -> str:
    from rollback.settings import load_settings, unknown_settings

    load_settings()
    named = named_variables(read_settings(os.environ, forgiving=True))
    strangers = [one for one in unknown_settings(os.environ) if one.name not in named]
    return f"read; not known: {', '.join(map(str, strangers))}" if strangers else "read, all known"


def _policies() -> str:
    from rollback.errors import ConfigurationError
    from rollback.policy_files import load_policies
    from rollback.policy_lint import lint

    loaded = load_policies(read_settings(os.environ, forgiving=True).policies, bootstrap.environment())
    findings = lint(loaded)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        first = errors[0]
        raise ConfigurationError(
            f"{len(errors)} errors, first {first.file}:{first.line}: {first.message}", next="rollback policy lint"
        )
    return f"{len(loaded.features)} features, no errors, {len(findings)} warnings"


def _record(output: Output) -> str:
    from rollback.errors import HistoryUnwritable, LedgerBroken

    settings, history = bootstrap.open_history(output.warn)
    trouble = history.feed().trouble
    if trouble:
        raise HistoryUnwritable(trouble)
    found = history.verify()
    if not found.ok:
        raise LedgerBroken("the ledger does not verify", next="rollback verify")
    return f"{settings.journal} and the ledger are writable, and verify"


def _feature(key: str, loaded: Policies | None, output: Output) -> Iterator[Finding]:
    try:
        session = bootstrap.open_session(key, None, None, output.warn)
    except RollbackError as error:
        yield Finding(key, error.exit_code, error.message, error.next)
        return
    yield tried(f"{key}: flag", lambda: _flag(session))
    yield tried(f"{key}: readers", lambda: _readers(session))
    yield tried(f"{key}: probes", lambda: _probes(session))
    yield from armed_finding(session, loaded)


def _flag(session: Session) -> str:
    flag = view(session, session.clock.monotonic() + LOOK_WITHIN)
    return f"{session.store.where}: {session.reference.ref}, {flag.now.percent} of 100 buckets are open"


def _readers(session: Session) -> str:
    """That every replica, the engine and the server answer; not that it is off."""
    from rollback.core.proof import Status
    from rollback.errors import Unproven

    prover = bootstrap.prover(session)
    try:
        proof, _ = prover.look(session.clock.monotonic() + LOOK_WITHIN)
    finally:
        prover.close()
    dumb = [part for part in proof.parts if part.status is Status.UNKNOWN]
    if dumb:
        raise Unproven(lacking_words(proof), next="Off could not be proven: mend this before it is needed.")
    return f"{len(proof.parts)} parts of the proof can be looked at"


def _probes(session: Session) -> str:
    from rollback.errors import NotHealthy

    feature, _ = bootstrap.policies(session, Severity.CRITICAL)
    probe = bootstrap.probe(session, feature)
    try:
        measured = probe.measure()
    finally:
        probe.close()
    missing = [f"{m.metric} ({m.detail})" for m in measured if m.harm is None and not m.waiting]
    if missing or not measured:
        raise NotHealthy(
            f"no data: {', '.join(missing) or 'no endpoint is configured'}", next="Without data the gate never opens."
        )
    return ", ".join(f"{m.metric}: {'clean' if m.harm == 0 else m.detail}" for m in measured)
