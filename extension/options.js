// Where the console is. A console elsewhere than on this machine needs a permission, which the browser asks for.

import { load, parse, pattern, save } from "./origin.js";

const form = document.querySelector("#form");
const field = document.querySelector("#origin");
const said = document.querySelector("#said");

field.value = await load();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const origin = parse(field.value);
  if (!origin) {
    said.textContent = "Expected https, or http on localhost, without a path.";
    field.setAttribute("aria-invalid", "true");
    return;
  }
  field.removeAttribute("aria-invalid");
  const wanted = { origins: [pattern(origin)] };
  const granted = (await chrome.permissions.contains(wanted)) || (await chrome.permissions.request(wanted));
  if (!granted) {
    said.textContent = "Not saved: the browser may not ask this address.";
    return;
  }
  await save(origin);
  field.value = origin;
  said.textContent = "Saved.";
});
