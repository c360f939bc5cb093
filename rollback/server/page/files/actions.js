// What a person can do with a feature: which buttons there are, what each asks, and what the command answered.
// A new command is a new row in `actionsOf`, and a name in OFFERED of routes.py.

import { h, serverNow, span } from "./dom.js";

const meta = (name) => document.querySelector(`meta[name="rollback-${name}"]`).content;
const MAY = new Set(meta("may").split(" "));

const HOLDS = [["30 min", 30], ["1 hour", 60], ["2 hours", 120], ["4 hours", 240], ["12 hours", 720]];

// The actions that make sense for this feature now and that this person's role allows, the most urgent first.
export function actionsOf(card) {
  const isHeld = Boolean(card.automation_held_until);
  const needsRelease = card.incident && (card.kept_off || card.needs_human || card.differs.length > 0);
  const offered = [
    {
      command: "disable", label: card.kind === "off" ? "Disable again" : "Disable", isUrgent: card.kind !== "off",
      title: `Turn ${card.name} off for every user?`, confirm: "Turn off now", doing: "Turning off",
      says: "It goes off on the flag store at once, and that is proven. It comes back only on evidence.",
      reason: "optional", body: (asked) => ({ reason: asked.reason }),
    },
    !isHeld && {
      command: "hold", label: "Hold automation", title: `Hold automation back for ${card.name}?`, confirm: "Hold",
      says: "Alerts are recorded and told, and turn nothing off meanwhile. A person can always disable.",
      reason: "needed", isFor: true,
      body: (asked) => ({ reason: asked.reason, until: new Date(serverNow() + asked.minutes * 60000).toISOString() }),
    },
    isHeld && {
      command: "hold", label: "End the hold", title: `Let automation act on ${card.name} again?`, confirm: "End the hold",
      says: "Alerts that came in meanwhile are decided on now.",
      reason: "needed", body: (asked) => ({ reason: asked.reason, until: null }),
    },
    needsRelease && {
      command: "release", label: "Release", title: `Release ${card.name}?`, confirm: "Release",
      says: "Returns may start again, and the flag is accepted as others have edited it. Nothing is turned on by this.",
      reason: "needed", body: (asked) => ({ reason: asked.reason }),
    },
    {
      command: "note", label: "Note", title: `A note for the record of ${card.name}`, confirm: "Keep the note",
      says: "No private data: it is cut and redacted.", reason: "note", body: (asked) => ({ text: asked.reason }),
    },
  ];
  return offered.filter((one) => one && MAY.has(one.command));
}

// The buttons of a feature, from a list of actions.
export function renderActions(card, actions) {
  if (actions.length === 0) return h("p", { class: "quiet" }, "Your role allows you to look, not to act.");
  return h("div", { class: "actions" }, actions.map((action) => h("button", {
    type: "button", class: action.isUrgent ? "danger" : null, "data-action": action.label, "data-feature": card.key, "data-key": action.label,
    "aria-label": `${action.label}: ${card.name}`,
  }, action.label)));
}

// Asks, and does it when the person confirms. `before` and `after` are called around the request.
export function ask(card, action, { before, after }) {
  const dialog = document.getElementById("ask");
  const reason = h("textarea", {
    id: "ask-reason", name: "reason", rows: 2, maxlength: action.reason === "note" ? 2000 : 500,
    required: action.reason !== "optional",
  });
  const minutes = h("select", { id: "ask-minutes" }, HOLDS.map(([name, value]) => h("option", { value, selected: value === 60 }, name)));
  const confirm = h("button", { type: "submit", class: action.command === "disable" ? "danger" : "primary", "data-confirm": true }, action.confirm);
  const close = h("button", { type: "button", "data-close": true }, "Cancel");
  const lines = h("div", { class: "lines", role: "log", "aria-live": "polite", "aria-label": "What the command says", hidden: true });
  const words = { optional: "Reason (may follow later as a note)", needed: "Reason", note: "Note" }[action.reason];
  const form = h("form", { method: "dialog" },
    h("h2", { id: "ask-title" }, action.title),
    h("dl", { class: "facts" },
      h("dt", {}, "Feature"), h("dd", {}, `${card.name} (${card.key})`),
      h("dt", {}, "Flag"), h("dd", {}, card.flag || "not known: its policy says"),
      h("dt", {}, "Store"), h("dd", {}, card.store || "not known: the settings say")),
    h("p", {}, action.says),
    document.body.classList.contains("stale") && h("p", { class: "wrong" }, "The server does not answer this page; it is tried all the same. ", byHand(card, action)),
    action.isFor && h("p", { class: "field" }, h("label", { for: "ask-minutes" }, "For"), minutes),
    h("p", { class: "field" }, h("label", { for: "ask-reason" }, words), reason),
    lines,
    h("p", { class: "actions" }, confirm, close));
  dialog.replaceChildren(form);
  close.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    reason.readOnly = true;
    close.textContent = "Close";
    lines.hidden = false;
    lines.replaceChildren();
    confirm.textContent = action.doing ? `${action.doing} …` : "Working …";
    before();
    const isDone = await run(card, action, { reason: reason.value.trim(), minutes: Number(minutes.value) }, lines);
    confirm.textContent = isDone ? "Done" : `${action.confirm} (again)`;
    confirm.disabled = isDone;
    reason.readOnly = isDone;
    after();
    close.focus();
  });
  dialog.showModal();
  (action.command === "disable" ? confirm : reason).focus();
}

function byHand(card, action) {
  return `Without this page: rollback ${action.command} ${card.key}`;
}

const ENDS = {
  0: ["good", "Done."],
  3: ["bad", "Refused by the policy; nothing was done."],
  5: ["warn", "Done, but not everything is proven or settled. Look at the card."],
  6: ["bad", "The flag store is out of reach or refused; certainly nothing changed."],
};

// True when it is done. Nothing is ever sent again by itself.
async function run(card, action, asked, lines) {
  const say = (text, kind) => {
    const line = h("p", { class: kind || null }, text);
    lines.append(line);
    line.scrollIntoView({ block: "nearest" });
    return line;
  };
  let live = null;
  let end = null;
  try {
    const answer = await fetch(`/page/features/${encodeURIComponent(card.key)}/${action.command}`, {
      method: "POST", credentials: "same-origin", cache: "no-store", priority: "high",
      headers: { "content-type": "application/json", accept: "application/x-ndjson", "x-rollback-csrf": meta("csrf"), "idempotency-key": randomKey() },
      body: JSON.stringify(action.body(asked)),
    });
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({ detail: `The server answered ${answer.status}.`, next: "" }));
      tell(problem);
      return false;
    }
    for await (const event of eventsOf(answer.body)) {
      if (live && !("beat" in event)) live = (live.remove(), null);
      if ("line" in event) say(event.line, { green: "good", yellow: "warn", red: "bad" }[event.fg]);
      else if ("warn" in event) say(`Warning: ${event.warn}`, "warn");
      else if ("waiting" in event) live = say(`The flag store does not answer (${event.why}); trying for ${span(event.waiting)} more. ${byHand(card, action)}`, "bad");
      else if ("problem" in event || "exit" in event) end = event;
    }
  } catch {
    say(`The connection broke off. What was begun may be done or not: look at the card. ${byHand(card, action)}`, "bad");
    return false;
  }
  if (end && end.problem) tell(end.problem);
  else if (end) {
    const [kind, words] = ENDS[end.exit] || ["bad", `Ended with exit code ${end.exit}.`];
    say(words, kind);
  } else say(`The answer ended too early. Look at the card. ${byHand(card, action)}`, "bad");
  return Boolean(end) && end.exit === 0;

  function tell(problem) {
    say(problem.detail || "It failed.", "bad");
    if (problem.next) say(problem.next, "bad");
    if (problem.status === 401) say("Reload the page to sign in.", "bad");
    if (action.command === "disable") say(byHand(card, action), "bad");
  }
}

async function* eventsOf(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? "" : decoder.decode(value, { stream: true });
    const whole = rest.split("\n");
    rest = whole.pop();
    for (const line of whole) if (line) yield JSON.parse(line);
    if (done) return;
  }
}

function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
