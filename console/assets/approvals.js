// Answering an approval: the gate makes the challenge, the passkey signs it, the gate checks it. Deny needs no key.

import { announce, events, waiting } from "./console.js";
import { post, sign, words } from "./passkey.js";

const said = document.getElementById("said");

function say(text, tone = "") {
  if (!said) return;
  said.textContent = text;
  said.className = `said ${tone}`;
  if (text) announce(text);
}

function extentOf(form) {
  const chosen = form.querySelector('input[name="extent"]:checked')?.value ?? "once";
  if (chosen === "uses") return `uses:${form.querySelector('input[name="uses"]').value}`;
  if (chosen === "until") {
    return `minutes:${form.querySelector('[name="minutes"]').value}`;
  }
  return chosen;
}

const form = document.querySelector("form[data-approve]");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const buttons = document.querySelectorAll("form[data-approve] button, form[data-deny] button");
  buttons.forEach((button) => (button.disabled = true));
  say("Waiting for your passkey.");
  try {
    const extent = extentOf(form);
    const path = `/approvals/${form.dataset.approve}`;
    const challenge = await post(`${path}/challenge`, { extent });
    const assertion = await sign(challenge);
    await post(`${path}/grant`, { extent: challenge.extent, assertion });
    say("Approved.", "good");
    location.reload();
  } catch (problem) {
    say(`Nothing was approved. ${words(problem)}`, "bad");
    buttons.forEach((button) => (button.disabled = false));
  }
});

for (const input of form?.querySelectorAll('input[type="number"], select') ?? []) {
  input.addEventListener("focus", () => (input.closest(".choice").querySelector('input[type="radio"]').checked = true));
}

// The list is drawn anew when something changes; a question that is being read is not.
const here = document.querySelector("[data-events]");
const again = document.getElementById("changed");
let known = null;
events("/events", {
  waiting: (text) => waiting(text),
  approval: (text) => {
    const change = JSON.parse(text);
    if (here?.dataset.approval) {
      if (change.id === here.dataset.approval && change.state !== here.dataset.state && again) again.hidden = false;
    } else if (known !== `${change.id} ${change.state}`) {
      known = `${change.id} ${change.state}`;
      location.reload();
    }
  },
});
