// What loosens something is confirmed with a passkey: the form goes out with its signature of what is done.

import { announce } from "./console.js";
import { post, sign, words } from "./passkey.js";

for (const form of document.querySelectorAll("form[data-deed]")) {
  form.addEventListener("submit", async (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    const status = form.querySelector(".status");
    const button = form.querySelector("button");
    const say = (text) => {
      status.textContent = text;
      announce(text);
    };
    button.disabled = true;
    say("Waiting for your passkey.");
    try {
      const deed = form.dataset.deed + (form.elements.limit?.value.trim() ?? "");
      const asked = await post("/confirm", { deed });
      const field = document.createElement("input");
      Object.assign(field, { type: "hidden", name: "confirmed" });
      field.value = JSON.stringify({ ceremony: asked.ceremony, assertion: await sign(asked) });
      form.append(field);
      form.submit();
    } catch (problem) {
      say(`Nothing was changed. ${words(problem)}`);
      button.disabled = false;
    }
  });
}
