// What every page does: the menu of small screens, moments in the reader's own zone, and the events of the gate.

const root = document.documentElement;
root.classList.add("script");

const menu = document.querySelector("[data-menu]");
const tabs = document.getElementById("tabs");
menu?.addEventListener("click", () => {
  const open = tabs.classList.toggle("open");
  menu.setAttribute("aria-expanded", String(open));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && tabs?.classList.contains("open")) {
    tabs.classList.remove("open");
    menu.setAttribute("aria-expanded", "false");
    menu.focus();
  }
});

export const csrf = () => document.querySelector('meta[name="exeat-csrf"]')?.content ?? "";

/** Says something to whoever cannot see the page change. */
export function announce(text) {
  const place = document.getElementById("announce");
  if (place) place.textContent = text;
}

const pad = (number) => String(number).padStart(2, "0");

function clockOf(at) {
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

function dayOf(at) {
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function distance(at, now) {
  const seconds = Math.floor(Math.abs(at - now) / 1000);
  if (at > now) return `in ${span(seconds)}`;
  return seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

/** Shows the moments below a node as the reader counts them. The exact one stays in the title. */
export function localise(node) {
  const now = new Date();
  for (const time of node.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    if (time.dataset.distance !== undefined) time.textContent = distance(at, now);
    else if (time.dataset.clock !== undefined) time.textContent = clockOf(at);
    else time.textContent = `${dayOf(at)} ${clockOf(at)}`;
  }
}

localise(document);
setInterval(() => localise(document), 10_000);

/**
 * The events of the gate. A page that nobody looks at lets go of them: browsers allow six connections to one place.
 * `listen` maps names of events to what is done with their data; `changed` is told whether they come.
 */
export function events(url, listen, changed = () => {}) {
  let source = null;
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(url);
    source.onopen = () => changed(true);
    source.onerror = () => {
      changed(false);
      if (source?.readyState === EventSource.CLOSED) source = null;
    };
    for (const [name, act] of Object.entries(listen)) {
      source.addEventListener(name, (event) => act(event.data));
    }
  };
  const close = () => {
    source?.close();
    source = null;
    changed(false);
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  open();
}

/** How many approvals wait, in the navigation and in the title. */
export function waiting(text) {
  const count = Number(text);
  const place = document.querySelector("[data-waiting]");
  if (!place || !Number.isFinite(count)) return;
  const before = Number(place.querySelector("[data-waiting-number]").textContent);
  place.hidden = count === 0;
  place.querySelector("[data-waiting-number]").textContent = String(count);
  document.title = document.title.replace(/^\(\d+\) /, "");
  if (count > 0) document.title = `(${count}) ${document.title}`;
  if (count > before) announce(`${count} questions wait`);
}

if (csrf() && !document.querySelector("[data-events]")) {
  events("/events", { waiting });
}

for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
}
