"""docs/evidence.md from the measurements, and the digest that ties it to the code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.figures import beside, healthy, outside, pictures, promise, watch
from tests.figures.numbers import ROOT, Numbers, shipped
from tests.figures.tables import SEED, Claim, Part, Scale, Table, percent

COMMAND = "make evidence"
INPUTS = ("rollback/core/evidence.py", "rollback/core/detector.py")
PICTURES = {
    healthy.measure: ("healthy", pictures.healthy, "Share of healthy features that are back at 100 %, by minutes"),
    outside.measure: ("bursts", pictures.bursts, "Share of bursty services that pass the first gate, by soak"),
    beside.measure: ("beside", pictures.beside, "Share that each rule brings back, by the true rate"),
}
MEASUREMENTS = (promise.measure, healthy.measure, watch.measure, outside.measure, beside.measure)


def digest() -> str:
    """A hash of all that the page's figures come from: the statistics, this package, and the numbers of the policy."""
    seen = hashlib.sha256(repr(shipped()).encode())
    package = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_"))
    for path in (*(ROOT / name for name in INPUTS), *package):
        seen.update(path.name.encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return seen.hexdigest()[:32]


def digest_line() -> str:
    """The line of the page that says which code wrote it."""
    return f"<!-- written by `{COMMAND}` from inputs {digest()} -->"


def write(folder: Path, scale: Scale) -> list[Claim]:
    """Measures all, writes `evidence.md` and `figures/*.svg` into the folder, returns the claims."""
    numbers = shipped()
    parts: list[Part] = []
    sections: list[str] = []
    for measure in MEASUREMENTS:
        part = measure(numbers, scale)
        parts.append(part)
        section = _section(part)
        if measure in PICTURES:
            name, shape, words = PICTURES[measure]
            pictures.draw(part, folder / "figures" / f"{name}.svg", shape)
            section += f"\n![{words}](figures/{name}.svg)\n"
        sections.append(section)
    claims = [claim for part in parts for claim in part.claims]
    text = "\n".join([_head(numbers, scale, claims), *sections, _tail()])
    (folder / "evidence.md").write_text(text, encoding="utf-8")
    return claims


def _head(numbers: Numbers, scale: Scale, claims: list[Claim]) -> str:
    rows = tuple((claim.text, claim.shown_in, "yes" if claim.holds else "**NO**") for claim in claims)
    soaks = ", ".join(f"{(gate.first - 1) * numbers.interval / 60:g}" for gate in numbers.gates)
    claimed = _table(Table("", "", ("claim", "shown in", "holds"), rows))
    return f"""# How often the gate errs
{digest_line()}

A feature that was turned off comes back only on evidence. This page shows how good that evidence is: how often a broken
feature gets back all the same, how long a healthy one waits, how soon harm is noticed, and where none of this holds.

`{COMMAND}` writes it (`python -m tests.figures`). The random numbers are numpy's `default_rng([{SEED}, n])`, with n for
the table, and for each row of T10 and T11. There are {scale.runs:,} runs per row where samples are drawn one by one,
and {scale.many:,} where that is cheap. A test compares the simulated gate with the program's own, verdict by verdict
and sample by sample.

The numbers are those of `policies/critical.yaml`: broken means p0 = {percent(numbers.p0)} of failures or more,
α = {percent(numbers.alpha)} for the whole case, {numbers.steps} steps with soaks of {soaks} minutes, one sample every
{numbers.interval:g} s, then a watch of {numbers.monitor_seconds / 3600:g} hours. A feature with testers has one step
more.

{claimed}
"""


def _section(part: Part) -> str:
    blocks = [f"## {part.title}", part.text]
    for table in part.tables:
        blocks += [f"### {table.key}. {table.title}", _table(table)]
        if table.note:
            blocks.append(table.note)
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def _tail() -> str:
    return """## What is simulated, and what is not

- Samples fail or not. Missing data is no sample and changes nothing, so it is not drawn.
- A metric with several endpoints passes only when all do; what is broken in one is held back by that one alone, so the
  tables speak of one metric.
- Nobody starts a return again here, and no alert, edit or disable comes in between: each of them only stops a return or
  makes it begin anew.
- A return that begins anew because somebody edited the flag or the policy has a new gate with the same share of α. The
  promise is about one configuration: whoever keeps editing while a feature is broken gives it a new chance each time.
- Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting"; Shin, Ramdas & Rinaldo,
  "E-detectors: a nonparametric framework for sequential change detection"; Clopper & Pearson (1934) for the bounds.
- The rules of other tools are described in their own documentation and code: Argo Rollouts `docs/features/analysis.md`,
  Flagger `docs/gitbook/usage/how-it-works.md`, GrowthBook `docs/features/safe-rollouts.mdx` (with Waudby-Smith, Arbour,
  Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences"), Kayenta
  `MannWhitneyClassifier.scala` and `NetflixACAJudge.scala`.
"""
