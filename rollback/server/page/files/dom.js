// Building and renewing what is seen. Data becomes text nodes and attributes, never markup.

export function h(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false && one !== ""));
  return node;
}

// Makes `old` like `fresh` in place, so that focus, open details and the reader's place stay. Children with the same
// `data-key` are the same thing wherever they stand.
export function morph(old, fresh) {
  renewAttributes(old, fresh);
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = wanted.dataset?.key ? keyed.get(wanted.dataset.key) : alike(place, wanted) ? place : null;
    if (!same) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (same === place) place = place.nextSibling;
    else old.insertBefore(same, place);
    if (same.nodeType === Node.TEXT_NODE) {
      if (same.data !== wanted.data) same.data = wanted.data;
    } else morph(same, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function alike(one, other) {
  return one && one.nodeType === other.nodeType && one.nodeName === other.nodeName && !one.dataset?.key;
}

function renewAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
}

// -- time ------------------------------------------------------------------------------------------------------------

let ahead = 0; // by how many milliseconds the server's clock is ahead of ours

export function setServerTime(iso) {
  ahead = Date.parse(iso) - Date.now();
}

export function serverNow() {
  return Date.now() + ahead;
}

export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function clockTime(iso) {
  const at = new Date(iso);
  const isToday = at.toDateString() === new Date(serverNow()).toDateString();
  const time = at.toLocaleTimeString("en-GB");
  return isToday ? time : `${at.toLocaleDateString("en-GB", { day: "2-digit", month: "short" })} ${time}`;
}

export function at(iso) {
  return h("time", { datetime: iso, title: iso }, clockTime(iso));
}

// A clock that runs: up since `iso`, or down until it.
export function running(iso, isDown = false) {
  const node = h("time", { datetime: iso, title: iso, "data-clock": isDown ? "down" : "up" });
  node.textContent = clockText(node);
  return node;
}

function clockText(node) {
  const moment = Date.parse(node.getAttribute("datetime"));
  if (node.dataset.clock === "up") return span((serverNow() - moment) / 1000);
  const left = (moment - serverNow()) / 1000;
  return left > 0 ? `${span(left)} left` : "due";
}

export function tick() {
  for (const node of document.querySelectorAll("[data-clock]")) {
    const text = clockText(node);
    if (node.textContent !== text) node.textContent = text;
  }
}
