// The console's passkeys in a real browser: enrol, sign in, approve, deny, and everything that must not work. The agent is
// curl, through the gate. Prints one line of JSON for each step; ends with 0 when it came to the end.
//
//   passkeys.mjs --real DIR --origin URL --enroll URL --proxy URL --roots FILE --target URL

import { execFile } from "node:child_process";
import { parseArgs } from "node:util";

import { enrol, post, sign, signIn, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "proxy", "roots", "target"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

// One request of the agent; waits at most so many seconds for a human.
function request(body, wait = 0) {
  const args = [
    "--silent", "--show-error", "--max-time", "60", "--proxy", given.proxy, "--cacert", given.roots,
    "--header", `exeat-wait: ${wait}`, "--write-out", "\n%{http_code}", "--json", JSON.stringify(body), given.target,
  ];
  return new Promise((resolve, reject) => {
    execFile("curl", args, (error, out, err) => {
      if (error) return reject(new Error(`curl: ${err}`));
      const at = out.lastIndexOf("\n");
      let answer = {};
      try { answer = JSON.parse(out.slice(0, at)); } catch { /* not the gate's */ }
      resolve({ status: Number(out.slice(at + 1)), answer });
    });
  });
}

const asked = async (body) => (await request(body)).answer.approval?.id;

// Answers by the buttons of the page, as a person does; gives what the page says.
async function approveOnPage({ page }, id) {
  await page.goto(`${given.origin}/approvals/${id}`);
  await Promise.all([page.waitForNavigation(), page.click("form[data-approve] button[type=submit]")]);
}

const challenge = (tab, id, extent = "once") => post(tab, `/approvals/${id}/challenge`, { extent });
const grant = (tab, id, assertion, extent = "once") => post(tab, `/approvals/${id}/grant`, { extent, assertion });

const { browser, close } = await start(given.real);
try {
  const first = await tab(browser);
  await enrol(first, given.enroll);
  told("enrolled", { at: new URL(first.page.url()).pathname, keys: (await first.keys()).length });

  const again = await first.page.goto(given.enroll);
  told("code-again", { status: again.status() });
  const used = await post(first, "/enroll/begin", { code: new URL(given.enroll).searchParams.get("code") });
  told("code-used", { status: used.status });

  await first.page.deleteCookie(...(await first.page.cookies()));
  await first.page.goto(`${given.origin}/approvals`);
  told("signed-out", { at: new URL(first.page.url()).pathname });
  await signIn(first, given.origin);
  told("signed-in", { at: new URL(first.page.url()).pathname });

  // Approve once: the same request passes, once; a changed one does not.
  const id = await asked({ amount: 10 });
  const changed = await request({ amount: 1000 });
  await approveOnPage(first, id);
  const after = await request({ amount: 1000 });
  const same = await request({ amount: 10 });
  const more = await request({ amount: 10 });
  told("approved-once", {
    changed: changed.status, after: after.status, same: same.status, more: more.status,
    asksAgain: more.answer.approval?.id !== id,
  });

  // Held: the answer comes while the agent waits.
  const held = request({ amount: 11 }, 20);
  const newest = await asked({ amount: 11 });
  await approveOnPage(first, newest);
  told("approved-while-held", { status: (await held).status });

  await first.page.goto(`${given.origin}/account`);
  // The same assertion twice, and for another question.
  const [one, two] = [await asked({ amount: 21, to: "a" }), await asked({ amount: 22, to: "b" })];
  const question = await challenge(first, one);
  const answer = await sign(first, question.answer);
  const other = await grant(first, two, answer.assertion);
  const good = await grant(first, one, answer.assertion);
  const twice = await grant(first, one, answer.assertion);
  told("replayed", { other: other.status, good: good.status, twice: twice.status });

  // More than was signed.
  const widened = await asked({ amount: 23 });
  const narrow = await sign(first, (await challenge(first, widened)).answer);
  const wide = await grant(first, widened, narrow.assertion, "uses:5");
  told("widened", { status: wide.status });

  // Without user verification: the browser refuses; and when it is told not to ask for it, the gate does.
  const unverified = await asked({ amount: 24 });
  await first.verified(false);
  const honest = await sign(first, (await challenge(first, unverified)).answer);
  const question2 = (await challenge(first, unverified)).answer;
  question2.publicKey.userVerification = "discouraged";
  const sly = await sign(first, question2);
  const slyGrant = sly.assertion ? await grant(first, unverified, sly.assertion) : { status: sly.error };
  await first.verified(true);
  told("unverified", { browser: honest.error, gate: slyGrant.status });

  // Two tabs answer at once: one wins.
  const second = await tab(browser);
  for (const key of await first.keys()) await second.give(key);
  await second.page.goto(`${given.origin}/account`);
  const race = await asked({ amount: 25 });
  const answers = await Promise.all([first, second].map(async (at) => sign(at, (await challenge(at, race)).answer)));
  const won = await Promise.all([first, second].map((at, n) => grant(at, race, answers[n].assertion)));
  told("two-tabs", { won: won.filter(({ status }) => status < 300).length });
  const spent = await Promise.all([request({ amount: 25 }), request({ amount: 25 })]);
  told("two-retries", { passed: spent.filter(({ status }) => status === 200).length });

  // A second device asks; the first vouches for it, and takes it away again.
  await first.page.bringToFront();
  await first.page.goto(`${given.origin}/pair`);
  await Promise.all([first.page.waitForNavigation(), first.page.click("main form button")]);
  const link = await first.page.$eval('a[href*="/enroll?code="]', (link) => link.href);
  const context = await browser.createBrowserContext();
  const phone = await tab(context);
  await phone.page.goto(link);
  await phone.page.type("#device", "Phone");
  await phone.page.click("form[data-enrol] button");
  await first.page.bringToFront();
  await first.page.goto(`${given.origin}/account`);
  await first.page.waitForSelector("[data-vouch]");
  const early = await sign(phone, { publicKey: { ...question.answer.publicKey, allowCredentials: [] } });
  const stranger = await grant(first, unverified, early.assertion ?? null);
  await Promise.all([first.page.waitForNavigation(), first.page.click("[data-vouch]")]);
  await phone.page.bringToFront();
  await phone.page.waitForFunction(() => location.pathname === "/sign-in");
  await signIn(phone, given.origin);
  told("paired", { stranger: stranger.status, at: new URL(phone.page.url()).pathname });
  await first.page.bringToFront();
  await first.page.goto(`${given.origin}/account`);
  const [phoneKey] = await phone.keys();
  const phoneId = Buffer.from(phoneKey.credentialId, "base64").toString("base64url");
  await Promise.all([first.page.waitForNavigation(), first.page.click(`[data-remove="${phoneId}"]`)]);
  await phone.page.goto(`${given.origin}/approvals`);
  told("removed", { at: new URL(phone.page.url()).pathname });

  // Expired: whoever waited is refused, a signature comes too late, and the same request asks anew.
  const expiring = await asked({ amount: 13 });
  const waits = request({ amount: 13 }, 20);
  await first.page.goto(`${given.origin}/approvals/${expiring}`);
  const slow = await sign(first, (await challenge(first, expiring)).answer);
  await first.page.waitForSelector("#changed:not([hidden])");
  const overdue = await grant(first, expiring, slow.assertion);
  const waited = await waits;
  await first.page.reload();
  const states = await first.page.$$eval("[data-state]", (all) => all.map(({ dataset }) => dataset.state));
  const anew = await asked({ amount: 13 });
  told("expired", {
    grant: overdue.status, held: waited.status, states, asksAgain: Boolean(anew) && anew !== expiring,
  });

  // Denied: it goes nowhere, cannot be approved after that, and the agent has to wait before it asks again.
  const refused = await asked({ amount: 12 });
  await first.page.goto(`${given.origin}/approvals/${refused}`);
  const before = await challenge(first, refused);
  const late = await sign(first, before.answer);
  await Promise.all([first.page.waitForNavigation(), first.page.click("form[data-deny] button[type=submit]")]);
  await first.page.goto(`${given.origin}/account`);
  const tooLate = await grant(first, refused, late.assertion);
  const denied = await request({ amount: 12 });
  told("denied", { status: denied.status, reason: denied.answer.type?.split(":").at(-1), grant: tooLate.status });

  // Whoever is not our page gets nowhere: another origin, no token against forgery.
  const bare = await first.page.evaluate(async () => (await fetch("/account/dismiss", {
    method: "POST", headers: { "content-type": "application/json" }, body: '{"candidate":"x"}',
  })).status);
  told("forged", { status: bare });
} finally {
  await close();
}
