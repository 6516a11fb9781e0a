// Capability requests in a real browser: read in words, cut down, confirmed, granted with a passkey, taken back, denied. One
// was asked for by the agent's person (`exeat request`), the others the agent asks for itself. Prints one line of JSON for
// each step.
//
//   requests.mjs --real DIR --origin URL --enroll URL --proxy URL --roots FILE --target URL --request ID

import { parseArgs } from "node:util";

import { call } from "./agent.mjs";
import { enrol, post, sign, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "proxy", "roots", "target", "request"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const api = new URL(given.target).origin;
const status = async (path, how) => (await call(given, api + path, how)).status;
const pay = (amount) => status("/transfers", { body: { amount } });
const note = () => status("/notes", { body: { text: "x" } });
const drop = () => status("/transfers/7", { method: "DELETE" });

// What the agent asks for itself; gives the id.
async function asks(...capabilities) {
  const body = { capabilities, seconds: 7200, why: "for the month's end" };
  return (await call(given, "http://exeat.internal/requests", { body })).answer.id;
}

const { browser, close } = await start(given.real);
try {
  const person = await tab(browser);
  const { page } = person;
  const open = () => page.goto(`${given.origin}/requests`);
  const form = (id) => `form[data-request="${id}"]`;
  const press = (selector) => Promise.all([page.waitForNavigation(), page.click(selector)]);
  const has = async (selector) => (await page.$(selector)) !== null;
  await enrol(person, given.enroll);

  // Moving value: shorter than asked for, and only once it is said twice that it is meant.
  const before = await pay(10);
  await open();
  const card = form(given.request);
  const said = await page.$eval(card, (one) => one.closest("article").textContent);
  await page.select(`${card} [name="seconds"]`, "1800");
  await page.click(`${card} button`);
  const stopped = await page.$eval(`${card} [name="confirmed"]`, (box) => box.validity.valueMissing);
  const part = { capabilities: [0], seconds: 1800, confirmed: false };
  const unconfirmed = await post(person, `/requests/${given.request}/challenge`, part);
  const waiting = await pay(10);
  await page.click(`${card} [name="confirmed"]`);
  await press(`${card} button`);
  told("transact", {
    before, said: ["coder", "pay.transfers.create", "50", "the invoices of May"].every((word) => said.includes(word)),
    stopped, unconfirmed: unconfirmed.status, waiting,
    inForce: await has(`form[action="/requests/${given.request}/revoke"]`), passes: await pay(10), more: await pay(51),
  });

  // A part of it.
  const two = await asks({ type: "write", resource: "pay.notes.create" }, { type: "delete", resource: "pay.transfers.drop" });
  await open();
  const labels = await page.$$(`${form(two)} fieldset label`);
  for (const label of labels) {
    if (await label.evaluate((one) => one.textContent.includes("pay.transfers.drop"))) await label.click();
  }
  await page.click(`${form(two)} [name="confirmed"]`);
  await press(`${form(two)} button`);
  told("part", { asked: labels.length, notes: await note(), drops: await drop() });

  // Nothing but what a key signed, never more than was asked for, and no longer than was signed, whatever is said besides.
  const three = await asks({ type: "write", resource: "pay.notes.create" }, { type: "write", resource: "pay.transfers.create" });
  await open();
  const less = { capabilities: [0], seconds: 300, confirmed: true };
  const challenge = (part) => post(person, `/requests/${three}/challenge`, part);
  const grant = async (part, assertion) => (await post(person, `/requests/${three}/grant`, { ...part, assertion })).status;
  const signed = async () => (await sign(person, (await challenge(less)).answer)).assertion;
  const unsigned = await grant(less);
  const longer = (await challenge({ ...less, seconds: 90_000 })).status;
  const other = (await challenge({ ...less, capabilities: [2] })).status;
  const widened = await grant({ ...less, capabilities: [0, 1] }, await signed());
  const assertion = await signed();
  const good = await grant({ ...less, seconds: 7200 }, assertion);
  const { answer } = await call(given, `http://exeat.internal/requests/${three}`);
  const inTime = Date.parse(answer.expires) <= Date.now() + 300_000;
  told("forged", { unsigned, longer, other, widened, good, inTime, twice: await grant(less, assertion) });

  // No, and no longer.
  const four = await asks({ type: "delete", resource: "pay.transfers.drop" });
  await open();
  await press(`form[action="/requests/${four}/deny"] button`);
  const again = await call(given, "http://exeat.internal/requests", {
    body: { capabilities: [{ type: "delete", resource: "pay.transfers.drop" }], seconds: 7200 },
  });
  told("denied", { drops: await drop(), again: again.status });
  await press(`form[action="/requests/${given.request}/revoke"] button`);
  told("taken-back", { pays: await pay(10), notes: await note() });
  told("page", { errors: person.troubles.filter((line) => !/status of 4\d\d/.test(line)) });
} finally {
  await close();
}
