// What is seen of the document: one card a feature, then deliveries, decisions, and the server itself.

import { at, h, running, serverNow } from "./dom.js";
import { actionsOf, renderActions } from "./actions.js";

const GLYPHS = { off: "■", unproven: "▲", on: "●", reduced: "◐", unknown: "?" };
const ORDER = ["reduced", "off", "on"];

// `age` is how many seconds ago it was read (null: never), `isStale` whether that is too long ago to be taken for now.
export function renderCard(card, { age, isStale }) {
  const kind = isStale ? "unknown" : card.kind;
  const isAlarmed = card.error || card.needs_human || card.pending_off_since || card.differs.length > 0 || card.kind === "unproven";
  return h("article", {
    class: `card ${kind}${isStale ? " old" : ""}${card.incident ? " open" : ""}${isAlarmed ? " alarmed" : ""}`,
    "data-key": card.key, "aria-labelledby": `name-${card.key}`,
  },
    h("header", {},
      h("h2", { id: `name-${card.key}` }, card.name),
      card.severity && h("span", { class: `severity ${card.severity}` }, card.severity)),
    h("p", { class: "glance" },
      h("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[kind]),
      h("strong", {}, isStale ? "UNKNOWN" : card.word), " ",
      isStale ? h("span", {}, lastSeen(card, age)) : glanceSince(card)),
    h("p", { class: "world" }, card.world),
    alarms(card),
    renderActions(card, actionsOf(card)),
    h("div", { class: "more" },
      h("div", {}, facts(card), evidence(card)),
      h("div", {}, card.timeline.length > 0 && timeline(card), card.basis.length > 0 && card.exposure === 0 && basis(card))));
}

// All features in one line each: on a phone the cards do not fit on one screen.
export function renderGlances(cards) {
  return h("nav", { id: "glances", class: "glances", "aria-label": "All features at a glance" }, cards.map(({ card, isStale }) => {
    const kind = isStale ? "unknown" : card.kind;
    return h("a", { href: `#name-${card.key}`, class: kind, "data-key": card.key },
      h("span", { "aria-hidden": "true" }, GLYPHS[kind]), ` ${card.name} `, h("strong", {}, isStale ? "UNKNOWN" : card.word));
  }));
}

function lastSeen(card, age) {
  return age === null ? "never read so far" : `not read for ${Math.round(age)} s; it was: ${card.word}`;
}

function glanceSince(card) {
  if (card.exposure === 0 && card.off_since) return h("span", {}, "for ", running(card.off_since));
  if (card.kind === "on" && card.exposure !== null && card.exposure < 100) return h("span", {}, `for at most ${card.exposure} % of users`);
  return null;
}

// What somebody has to know before anything else.
function alarms(card) {
  const human = card.needs_human;
  const told = [
    card.error && ["bad", card.error.message, card.error.next && h("span", { class: "next" }, card.error.next)],
    card.kind === "unknown" && !card.error && ["bad", `Not known: ${card.exposure_unknown || "nobody can say"}. Unknown is not off.`],
    human && ["bad", h("strong", {}, `Needs a human: ${human.role}. `), human.what, " Since ", at(human.since), human.by ? [", by ", at(human.by)] : "", "."],
    card.pending_off_since && ["bad", h("strong", {}, "An off was sent and is not settled"), ", since ", at(card.pending_off_since), "."],
    ...card.differs.map((one) => ["bad", h("strong", {}, "Flag and case differ: "), `${one}.`]),
    ...card.lacking.map((one) => ["bad", h("strong", {}, "Not proven: "), one]),
    card.automation_held_until && ["warn", h("strong", {}, "Automation is held back"), " until ", at(card.automation_held_until), " (", running(card.automation_held_until, true), ")."],
    card.kept_off && ["warn", h("strong", {}, "Kept off"), " until somebody releases it."],
    card.gate_blind && card.incident && ["warn", h("strong", {}, "The gate is blind: "), "it was green while the feature was broken, so only a person brings it back."],
    ...card.warnings.map((one) => ["warn", one]),
  ].filter(Boolean);
  return told.length > 0 && h("ul", { class: "alarms" }, told.map(([kind, ...words]) => h("li", { class: kind }, words)));
}

function facts(card) {
  const rows = [];
  const row = (name, ...words) => rows.push(h("dt", {}, name), h("dd", {}, words));
  if (card.incident) {
    row("Case", h("strong", {}, card.state), " for ", running(card.since), h("br"), h("span", { class: "quiet" }, card.incident));
    if (card.case) row("Opened", at(card.opened_at), card.case.opened_by && ` by ${card.case.opened_by}`, card.case.reason && `: ${card.case.reason}`);
  } else row("Case", "none");
  row("Exposure", exposure(card));
  if (card.exposure === 0 && card.pollers_follow_by) row("Clients that poll", pollers(card.pollers_follow_by));
  if (card.operation) row("Return", `${card.operation.command} by ${card.operation.by}, for `, running(card.operation.began_at), !card.evidence && card.operation.line && h("span", { class: "why" }, `It last said: ${card.operation.line}`));
  if (card.monitoring_until) row("Monitoring", running(card.monitoring_until, true), " at least, until ", at(card.monitoring_until));
  if (card.alerts.length > 0) row("Alerts that fire", h("ul", {}, card.alerts.map(firing)));
  if (card.fix) row("Fix", card.fix);
  row("Trigger", armed(card));
  if (card.not_covered.length > 0) row("Not covered", h("ul", {}, card.not_covered.map((one) => h("li", {}, h("strong", {}, one.name), ` ${one.because}`))));
  return h("dl", { class: "facts" }, rows);
}

function pollers(iso) {
  if (Date.parse(iso) <= serverNow()) return ["have followed by ", at(iso), ", assumed by time"];
  return ["follow by ", at(iso), " (", running(iso, true), ")"];
}

function exposure(card) {
  if (card.exposure === null) return "not known";
  if (card.exposure === 0) return "nobody on any server";
  const reasons = card.exposure_reasons.map((one) => h("li", {}, one));
  return [`at most ${card.exposure} % of users`, reasons.length > 0 && h("ul", {}, reasons)];
}

function firing(alert) {
  return h("li", {}, h("strong", {}, `${alert.source} ${alert.monitor}`), alert.title && ` ${alert.title}`, alert.since && [", for ", running(alert.since)]);
}

function armed(card) {
  if (card.armed === true) return "armed: a critical alert turns it off";
  if (card.armed === null || card.armed === undefined) return "not checked so far whether an alert could turn it off";
  return [h("strong", { class: "bad" }, "NOT ARMED"), h("ul", {}, card.armed_why.map((one) => h("li", {}, one)))];
}

function evidence(card) {
  if (!card.evidence) return null;
  return h("section", { class: "evidence", "aria-label": "Evidence of health" },
    h("h3", {}, "Evidence of health", card.evidence.fix && h("span", { class: "quiet" }, ` for ${card.evidence.fix}`)),
    card.evidence.metrics.map((metric) => {
      const isEnough = metric.clean_samples_missing === 0;
      return h("div", { class: `metric ${isEnough ? "enough" : ""}` },
        h("span", {}, h("strong", {}, metric.name), ` ${metric.samples} samples, ${metric.bad} bad`, metric.without_data > 0 && `, ${metric.without_data} without data`),
        h("progress", { max: 1, value: metric.share, "aria-label": `${metric.name}: E ${metric.e} of ${metric.bound}` }),
        h("span", { class: "quiet" }, `E ${metric.e} of ${metric.bound}; `, isEnough ? "enough" : `${metric.clean_samples_missing} clean samples missing`));
    }));
}

function timeline(card) {
  return h("details", { open: true }, h("summary", {}, `What happened (${card.timeline.length})`),
    h("ol", { class: "timeline" }, card.timeline.map((row) => h("li", {},
      at(row.at), h("span", {}, h("strong", {}, row.what), row.state && ` → ${row.state}`,
        h("span", { class: "quiet" }, ` ${row.who}${row.claimed ? " (claimed)" : ""}`), row.why && h("span", { class: "why" }, row.why))))));
}

function basis(card) {
  return h("details", {}, h("summary", {}, "How off is proven"),
    h("ul", { class: "basis" }, card.basis.map((part) => h("li", {}, h("strong", {}, `${part.name}: ${part.status.replace("_", " ")}`), ` ${part.detail}`))));
}

// -- what belongs to no single feature ---------------------------------------------------------------------------------

export function renderBelow(known) {
  const server = known.server || {};
  return [deliveries(server), decisions(known.features), health(known, server)];
}

function section(name, title, ...children) {
  return h("section", { class: "panel", "data-key": name, "aria-label": title }, h("h2", {}, title), children);
}

function deliveries(server) {
  const rows = server.deliveries || [];
  return section("deliveries", "Deliveries",
    server.deliveries_trouble && h("p", { class: "bad" }, server.deliveries_trouble),
    rows.length === 0 && h("p", { class: "quiet" }, "None so far."),
    h("ol", { class: "rows" }, rows.map((one) => h("li", { "data-key": `d${one.number}` },
      at(one.received_at),
      h("div", {}, h("strong", {}, `${one.source} `), one.alerts.length === 0 ? one.kind : null,
        one.alerts.map((alert) => h("span", { class: "alert" }, `${alert.edge} ${alert.monitor}${alert.priority ? ` ${alert.priority}` : ""}${alert.title ? `: ${alert.title}` : ""}`)),
        one.more > 0 && ` and ${one.more} more`, one.why && h("span", { class: "why" }, one.why),
        h("span", { class: "why" }, one.outcome || "being worked on"))))));
}

function decisions(features) {
  const rows = features.flatMap((card) => card.decisions.map((one) => ({ ...one, name: card.name }))).sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, 20);
  return section("decisions", "Decisions on alerts",
    rows.length === 0 && h("p", { class: "quiet" }, "None so far."),
    h("ol", { class: "rows" }, rows.map((one) => h("li", {}, at(one.at),
      h("div", {}, h("strong", {}, one.action), ` ${one.name}`, one.rule && h("span", { class: "quiet" }, ` by rule ${one.rule}`), h("span", { class: "why" }, one.why))))));
}

function health(known, server) {
  const rows = Object.entries(server.parts || {}).map(([name, why]) => [name, why]);
  for (const [name, why] of Object.entries(server.closed_sources || {})) rows.push([`source ${name}`, `closed: ${why}`]);
  for (const one of server.channels || []) rows.push([`channel ${one.name}`, one.failing_since ? `fails: ${one.why}; ${one.waiting} wait` : ""]);
  if (server.wrong_tokens) rows.push(["sign-ins", `${server.wrong_tokens} failed in the last ten minutes`]);
  if (known.policies_trouble) rows.push(["policies", known.policies_trouble]);
  if (server.trouble) rows.push(["server", server.trouble]);
  const wrong = rows.filter(([, why]) => why);
  const well = rows.filter(([, why]) => !why);
  return section("server", "This server",
    rows.length === 0 ? h("p", { class: "bad" }, "Not known yet.") : wrong.length === 0 ? h("p", { class: "good" }, "All parts are well.") : h("p", { class: "bad" }, "A part is not well:"),
    wrong.length > 0 && h("dl", { class: "facts" }, wrong.map(([name, why]) => [h("dt", {}, name), h("dd", { class: "bad" }, why)])),
    well.length > 0 && h("details", {}, h("summary", {}, `Well: ${well.length} parts`), h("p", { class: "quiet" }, well.map(([name]) => name).join(", "))));
}

// The most urgent first: off that is not proven, open cases by severity, what is not known; then by state and name.
export function inOrder(features) {
  const rank = (card) => {
    if (card.kind === "unproven") return 0;
    const severity = ["critical", "high", "low"].indexOf(card.severity);
    if (card.incident && severity >= 0) return 1 + severity;
    return card.kind === "unknown" ? 1.5 : 10 + ORDER.indexOf(card.kind);
  };
  return [...features].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

// The words for the window's title, and for who listens: the worst first.
export function summary(features) {
  const worst = inOrder(features)[0];
  return worst ? `${GLYPHS[worst.kind]} ${worst.word}: ${worst.name}` : "no features";
}
