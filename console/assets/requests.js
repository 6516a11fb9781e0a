// Granting a capability request, or a part of it: the gate makes the challenge over exactly that, the passkey signs it.

import { announce } from "./console.js";
import { post, sign, words } from "./passkey.js";

const said = document.getElementById("said");

function say(text, tone = "") {
  said.textContent = text;
  said.className = `said ${tone}`;
  announce(text);
}

for (const form of document.querySelectorAll("form[data-request]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    const chosen = [...form.querySelectorAll('input[name="capability"]:checked')];
    const part = {
      capabilities: chosen.map((one) => Number(one.value)),
      seconds: Number(form.querySelector('[name="seconds"]').value),
      confirmed: form.querySelector('[name="confirmed"]')?.checked ?? false,
    };
    if (!chosen.length) return say("Choose what is granted, or deny it.", "bad");
    button.disabled = true;
    say("Waiting for your passkey.");
    try {
      const path = `/requests/${form.dataset.request}`;
      const assertion = await sign(await post(`${path}/challenge`, part));
      await post(`${path}/grant`, { ...part, assertion });
      say("Granted.", "good");
      location.reload();
    } catch (problem) {
      say(`Nothing was granted. ${words(problem)}`, "bad");
      button.disabled = false;
    }
  });
}
