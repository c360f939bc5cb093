// Keeps the page true: listens to the server, asks it when nothing is heard, and says so when what is shown is old.

import { h, morph, setServerTime, clockTime, span, tick } from "./dom.js";
import { actionsOf, ask } from "./actions.js";
import { inOrder, renderBelow, renderCard, renderGlances, summary } from "./cards.js";

const CUT_OFF = 7; // seconds without a word from the server after which nothing shown counts as now
const POLL_AFTER = 4; // seconds without an event after which the server is asked instead
const POLL_EVERY = 2000;
const POLL_WITHIN = 4000;
const STREAM_AGAIN = 15000;

const heard = { clock: -Infinity, wall: -Infinity, at: null }; // when the last word came, by two clocks of ours, and its time
let known = null;
let ages = {};
let staleAfter = 8;
let version = -1;
let stream = null;
let streamAt = -Infinity; // when the last event came
let isPolling = false;
const words = new Map();

// Both clocks: one may stand still while a phone sleeps, the other may be set back.
function silence() {
  return Math.max((performance.now() - heard.clock) / 1000, (Date.now() - heard.wall) / 1000);
}

function take(told) {
  heard.clock = performance.now();
  heard.wall = Date.now();
  heard.at = told.at;
  setServerTime(told.at);
  ages = told.ages;
  staleAfter = told.stale_after;
  if (told.document && told.version !== version) {
    known = told.document;
    version = told.version;
  } else if (told.version !== version) poll(); // the event that told of it got lost
  show();
}

// -- what is shown ---------------------------------------------------------------------------------------------------

function show() {
  const quiet = silence();
  const isCutOff = quiet > CUT_OFF;
  const main = document.getElementById("features");
  if (known) {
    const cards = inOrder(known.features).map((card) => {
      const read = ages[card.key] ?? null;
      const age = read === null ? null : read + quiet;
      return { card, age, isStale: isCutOff || age === null || age > staleAfter };
    });
    for (const { card, isStale } of cards) if (!isStale) announce(card);
    morph(document.getElementById("glances"), renderGlances(cards));
    morph(main, h("div", { id: "features", class: "features", tabindex: -1 }, 
      cards.length > 0 ? cards.map(({ card, age, isStale }) => renderCard(card, { age, isStale })) : h("p", { class: "wrong" },
        `No feature is known here, so nothing can be shown. ${known.policies_trouble} By hand: rollback status`)));
    const below = document.getElementById("below");
    morph(below, h("div", { id: "below", class: "below" }, renderBelow(known)));
  }
  veil(isCutOff, quiet);
}

function veil(isCutOff, quiet) {
  const box = document.getElementById("veil");
  const live = document.getElementById("live-words");
  document.body.classList.toggle("stale", isCutOff);
  const title = isCutOff ? "? NOT LIVE" : known ? summary(known.features) : "";
  document.title = title ? `${title} · rollback` : "rollback";
  if (!isCutOff) {
    const shown = known ? known.features.map((card) => ages[card.key]).filter((age) => age !== null && age !== undefined) : [];
    const oldest = shown.length > 0 ? Math.max(...shown) + quiet : null;
    setText(live, oldest === null ? "Live" : `Live · read ${span(oldest)} ago`);
    box.hidden = true;
    box.replaceChildren();
    return;
  }
  setText(live, heard.at ? `NOT LIVE for ${span(quiet)}` : "Connecting …");
  if (box.hidden && (heard.at || performance.now() > CUT_OFF * 1000)) {
    const seen = heard.at ? `What you see was true at ${clockTime(heard.at)} and may be wrong now.` : "Nothing was heard from it so far.";
    box.replaceChildren(h("p", {}, h("strong", {}, "NOT LIVE. The server does not answer. "), seen),
      h("p", {}, "To turn a feature off without it: ", h("code", {}, "rollback disable FEATURE")));
    box.hidden = false;
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function announce(card) {
  const before = words.get(card.key);
  words.set(card.key, card.word);
  if (before !== undefined && before !== card.word) {
    document.getElementById("said").textContent = `${card.name} is ${card.word}.`;
  }
}

// -- the server ------------------------------------------------------------------------------------------------------

function listen() {
  closeStream();
  if (document.hidden) return;
  stream = new EventSource("/page/events");
  const got = (event) => {
    streamAt = performance.now();
    take(JSON.parse(event.data));
  };
  stream.addEventListener("state", got);
  stream.addEventListener("beat", got);
  stream.addEventListener("ended", () => location.reload());
}

function closeStream() {
  if (stream) stream.close();
  stream = null;
}

async function poll() {
  if (isPolling || document.hidden) return;
  isPolling = true;
  const end = new AbortController();
  const timer = setTimeout(() => end.abort(), POLL_WITHIN);
  try {
    const answer = await fetch("/page/state", { signal: end.signal, cache: "no-store", credentials: "same-origin" });
    if (answer.status === 401) location.reload();
    else if (answer.ok) take(await answer.json());
  } catch {
    // It is said by the veil, once it has lasted.
  } finally {
    clearTimeout(timer);
    isPolling = false;
  }
}

setInterval(() => {
  show();
  tick();
}, 1000);
setInterval(() => {
  if ((performance.now() - streamAt) / 1000 > POLL_AFTER) poll();
}, POLL_EVERY);
setInterval(() => {
  const isSilent = performance.now() - streamAt > STREAM_AGAIN;
  if (!stream || stream.readyState === EventSource.CLOSED || isSilent) listen();
}, STREAM_AGAIN);

// A window that was hidden, or comes back from the browser's memory, shows nothing of before as if it were now.
function wake() {
  show();
  if (document.hidden) closeStream();
  else {
    poll();
    listen();
  }
}
document.addEventListener("visibilitychange", wake);
addEventListener("pageshow", (event) => event.persisted && location.reload());

// -- acting ----------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  const card = button && known && known.features.find((one) => one.key === button.dataset.feature);
  if (!card) return;
  const action = actionsOf(card).find((one) => one.label === button.dataset.action);
  // The stream gives its connection up, so that a browser with many windows has one left for this.
  if (action) ask(card, action, { before: closeStream, after: () => { poll(); listen(); } });
});

listen();
poll();
show();
