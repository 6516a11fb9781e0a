// A person at the console while the gate is replaced by another process (`exeat upgrade`): the same address answers, she signs
// in again, and approves what the agent then asks. Prints one line of JSON for each step.
//
//   upgraded.mjs --real DIR --origin URL --enroll URL --proxy URL --roots FILE --target URL --upgrade JSON

import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";

import { call } from "./agent.mjs";
import { enrol, signIn, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "proxy", "roots", "target", "upgrade"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const pay = (wait) => call(given, given.target, { body: { amount: 10 }, wait });

const { browser, close } = await start(given.real);
try {
  const person = await tab(browser);
  const { page } = person;
  await enrol(person, given.enroll);
  await pay(0);
  await page.waitForSelector(".call");

  const [program, ...more] = JSON.parse(given.upgrade);
  told("upgraded", JSON.parse(execFileSync(program, more, { encoding: "utf8" })));
  await page.goto(`${given.origin}/approvals`);
  const at = new URL(page.url()).pathname;
  await signIn(person, given.origin);
  told("signed-in", { first: at, then: new URL(page.url()).pathname });

  const { id } = (await pay(0)).answer.approval;
  await page.goto(`${given.origin}/approvals/${id}`);
  await Promise.all([page.waitForNavigation(), page.click("form[data-approve] button[type=submit]")]);
  told("approved", { status: (await pay(0)).status });
} finally {
  await close();
}
