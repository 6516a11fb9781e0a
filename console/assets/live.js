// The page of calls as they pass. Every row is drawn by the gate; this puts it in its place, filters, and opens details.

import { announce, events, localise, waiting } from "./console.js";

const ROWS_MAX = 300;
const list = document.getElementById("calls");
const none = document.getElementById("no-calls");
const nothing = document.getElementById("nothing-left");
const form = document.getElementById("filter");
const pulse = document.getElementById("pulse");
const hold = document.getElementById("hold");
const held = [];

function passes(row) {
  const words = form.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const { agent, decision, text } = row.dataset;
  return (
    (!form.agent.value || form.agent.value === agent) &&
    (!form.decision.value || form.decision.value === decision) &&
    words.every((word) => text.toLowerCase().includes(word))
  );
}

function sift() {
  let shown = 0;
  for (const row of list.children) {
    row.hidden = !passes(row);
    if (!row.hidden) shown += 1;
  }
  const any = list.children.length > 0;
  list.hidden = shown === 0;
  none.hidden = any;
  nothing.hidden = !any || shown > 0;
}

function rowOf(text) {
  const template = document.createElement("template");
  template.innerHTML = text;
  return template.content.firstElementChild;
}

function place(row) {
  const known = document.getElementById(row.id);
  if (known) {
    if (known.open) return;
    known.replaceWith(row);
  } else {
    list.prepend(row);
    row.classList.add("fresh");
  }
  const agent = row.dataset.agent;
  if (agent && ![...form.agent.options].some((option) => option.value === agent)) {
    form.agent.add(new Option(agent, agent));
  }
  while (list.children.length > ROWS_MAX) list.lastElementChild.remove();
  localise(row.parentElement);
  sift();
}

function come(text) {
  const row = rowOf(text);
  if (!row) return;
  if (hold.getAttribute("aria-pressed") === "true") {
    held.push(row);
    if (held.length > ROWS_MAX) held.shift();
    hold.textContent = `Go on (${held.length})`;
  } else {
    place(row);
  }
}

hold.addEventListener("click", () => {
  const holds = hold.getAttribute("aria-pressed") !== "true";
  hold.setAttribute("aria-pressed", String(holds));
  hold.textContent = holds ? "Go on" : "Pause";
  if (!holds) held.splice(0).forEach(place);
  announce(holds ? "New calls wait" : "New calls are shown");
});

list.addEventListener(
  "toggle",
  async (event) => {
    const row = event.target;
    const place = row.querySelector(".detail");
    if (!row.open || !place || place.dataset.loaded) return;
    place.dataset.loaded = "yes";
    try {
      const answer = await fetch(`/receipts/${row.dataset.call}/detail`);
      if (!answer.ok) throw new Error(String(answer.status));
      place.innerHTML = await answer.text();
      localise(place);
    } catch {
      delete place.dataset.loaded;
      place.textContent = "This receipt could not be loaded. Close it and open it again.";
    }
  },
  true,
);

form.addEventListener("input", sift);
form.addEventListener("submit", (event) => event.preventDefault());
sift();

events("/events?calls=1", { waiting, call: come }, (on) => {
  pulse.classList.toggle("on", on);
  pulse.textContent = on ? "Live" : "Not connected";
});
