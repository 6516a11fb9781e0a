// The pages of passkeys: sign in, enrol, vouch, remove.

import { create, post, sign, words } from "./passkey.js";

const POLL_MS = 2000;

// Runs a step; says under `place` how it goes. One step at a time.
async function run(place, button, step) {
  const status = place.querySelector(".status");
  const say = (line) => { if (status) status.textContent = line; };
  button.disabled = true;
  say("Waiting for your passkey ...");
  try {
    await step(say);
  } catch (error) {
    say(words(error));
    button.disabled = false;
  }
}

for (const place of document.querySelectorAll("[data-sign-in]")) {
  const button = place.querySelector("button");
  button.addEventListener("click", () => run(place, button, async () => {
    const asked = await post("/sign-in/begin", {});
    await post("/sign-in/finish", { ceremony: asked.ceremony, assertion: await sign(asked) });
    location.assign(place.dataset.next);
  }));
}

for (const form of document.querySelectorAll("form[data-enrol]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(form, form.querySelector("button"), (say) => enrol(form, say));
  });
}

async function enrol(form, say) {
  const asked = await post("/enroll/begin", { code: form.elements.code.value });
  const registration = await create(asked);
  const device = form.elements.device.value;
  const made = await post("/enroll/finish", { ceremony: asked.ceremony, device, registration });
  if (made.enrolled) {
    location.assign("/");
    return;
  }
  say(`Now confirm it on a device that is enrolled. The fingerprint is ${made.fingerprint}.`);
  await waitFor(made.candidate, say);
}

async function waitFor(candidate, say) {
  for (;;) {
    const { state } = await post("/enroll/state", { candidate });
    if (state === "enrolled") {
      location.assign("/sign-in");
      return;
    }
    if (state !== "waiting") {
      say(state === "dismissed" ? "It was dismissed." : "Nobody confirmed it in time.");
      return;
    }
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

async function vouch(wanted) {
  const asked = await post("/account/vouch", wanted);
  await post("/account/vouched", { ceremony: asked.ceremony, assertion: await sign(asked) });
  location.assign("/account");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const card = button.closest("[data-candidate]");
  if (button.matches("[data-vouch]")) {
    run(card, button, () => vouch({ add: card.dataset.candidate }));
  } else if (button.matches("[data-dismiss]")) {
    run(card, button, async () => {
      await post("/account/dismiss", { candidate: card.dataset.candidate });
      card.remove();
    });
  } else if (button.matches("[data-remove]")) {
    const code = button.parentElement.querySelector("input")?.value;
    run(button.parentElement, button, () => vouch({ remove: { key: button.dataset.remove, code } }));
  }
});

// New keys show up without a reload, unless somebody is about to answer one.
const place = document.querySelector("[data-candidates]");
if (place) {
  let shown = null;
  setInterval(async () => {
    if (place.querySelector("button:disabled")) return;
    const response = await fetch("/account/candidates").catch(() => null);
    if (!response?.ok) return;
    const fresh = await response.text();
    if (fresh !== shown) place.innerHTML = shown = fresh;
  }, POLL_MS);
}
