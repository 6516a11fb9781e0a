// Every page of the console in a real browser: no errors, nothing serious for axe-core in light and dark, no scrolling aside
// at 320 pixels, an approval by keyboard alone. Keeps screenshots. The agent is curl, through the gate. Prints one line of
// JSON for each step.
//
//   pages.mjs --real DIR --origin URL --enroll URL --proxy URL --roots FILE --target URL --shots DIR

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { enrol, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "proxy", "roots", "target", "shots"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const PAGES = [
  ["live", "/"], ["approvals", "/approvals"], ["agents", "/agents"], ["policy", "/policy"], ["budgets", "/budgets"],
  ["credentials", "/credentials"], ["receipts", "/receipts"], ["health", "/health"], ["account", "/account"],
  ["pair", "/pair"], ["nowhere", "/nowhere"],
];
const WIDE = { width: 1280, height: 900, deviceScaleFactor: 1 };
const PHONE = { width: 320, height: 800, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

const axe = readFileSync(join(given.real, "node/node_modules/axe-core/axe.min.js"), "utf8");
mkdirSync(given.shots, { recursive: true });

// One request of the agent, not held; gives what the gate says.
function request(body, more = []) {
  const args = [
    "--silent", "--show-error", "--max-time", "60", "--proxy", given.proxy, "--cacert", given.roots,
    "--header", "exeat-wait: 0", "--json", body, ...more, given.target,
  ];
  return new Promise((resolve, reject) => {
    execFile("curl", args, (error, out, err) => {
      if (error) return reject(new Error(`curl: ${err}`));
      try { resolve(JSON.parse(out)); } catch { resolve({}); }
    });
  });
}

// What a program that is not the browser gets; gives the status.
function status(path, more = []) {
  const args = ["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", ...more, given.origin + path];
  return new Promise((resolve, reject) => {
    execFile("curl", args, (error, out) => (error ? reject(error) : resolve(Number(out))));
  });
}

const shot = (page, name) => page.screenshot({ path: join(given.shots, `${name}.png`), fullPage: true });

// What axe-core finds that is serious. It runs outside the page's own world, so the page's policy stays as it is.
async function findings(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 90)).slice(0, 2).join(" | ")}`);
}

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// Values that no page may hold: a sealed secret, and the token by which the agent is known.
let secrets = 0;
async function leaks(page) {
  const text = await page.content();
  const token = new URL(given.proxy).password;
  secrets += ["CANARY", token].filter((word) => text.includes(word)).length;
}

async function look(at, name, path) {
  const { page, troubles } = at;
  const problems = [];
  for (const scheme of ["light", "dark"]) {
    await page.setViewport(WIDE);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(given.origin + path);
    problems.push(...(await findings(page)));
    await leaks(page);
    await shot(page, `${name}-${scheme}`);
  }
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await page.setViewport(PHONE);
  await page.goto(given.origin + path);
  const aside = await overflow(page);
  problems.push(...(await findings(page)));
  await shot(page, `${name}-phone`);
  await page.setViewport(WIDE);
  const errors = troubles.splice(0).filter((line) => !(path === "/nowhere" && line.includes("404")));
  told(name, { problems, aside, errors });
}

// Presses Tab until this has the focus.
async function reach({ page }, selector) {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted) ?? false, selector)) return presses + 1;
  }
  throw new Error(`the keyboard does not reach ${selector}`);
}

const { browser, close } = await start(given.real);
try {
  const person = await tab(browser);
  const { page } = person;
  await page.setViewport(WIDE);
  await look(person, "sign-in", "/sign-in");
  await page.goto(given.enroll);
  await shot(page, "enroll");
  await enrol(person, given.enroll);
  for (const [name, path] of PAGES) await look(person, `empty-${name}`, path);

  const first = await request('{"amount": 1200, "to": "Ada"}');
  const firstId = first.approval?.id;
  await page.goto(`${given.origin}/approvals`);
  await reach(person, `a[href="/approvals/${firstId}"]`);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  await reach(person, 'input[name="extent"]');
  await reach(person, "form[data-approve] button");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  const state = await page.$eval("[data-state]", (head) => head.dataset.state);
  const passed = await request('{"amount": 1200, "to": "Ada"}');
  told("keyboard", { state, passed: passed.approval === undefined });

  const odd = '{"amount": 120000, "to": "Ada \\u202eevE", "note": "' + "long ".repeat(400) + 'END"}';
  const second = await request(odd);
  const long = `/approvals/${second.approval?.id}`;
  await request('{"amount": "a lot"}');
  await request('{"amount": 7}', ["--request", "PUT"]);
  await page.goto(given.origin + long);
  const text = await page.$eval("main", (main) => main.textContent);
  told("shown", {
    spelled: text.includes("U+202E"), complete: text.includes("long END"),
    compared: text.includes("removed: ") && text.includes("added: "),
  });
  await look(person, "approval", long);
  for (const [name, path] of PAGES) await look(person, name, path);

  await page.goto(`${given.origin}/`);
  await page.click(".call > summary");
  await page.waitForSelector(".call[open] .detail .facts");
  await shot(page, "live-open");
  const opened = await findings(page);
  const before = await page.$$eval(".call", (rows) => rows.length);
  await request('{"amount": "too much"}');
  await page.waitForFunction((count) => document.querySelectorAll(".call").length > count, {}, before);
  await page.type("#filter [name=text]", "arguments-invalid");
  const sifted = await page.$$eval(".call:not([hidden])", (rows) => rows.length);
  told("live-opened", { problems: opened, sifted, errors: person.troubles.splice(0) });

  await page.goto(`${given.origin}/policy`);
  await page.type("input[name=url]", given.target);
  await page.select("select[name=method]", "POST");
  await page.type("textarea", '{"amount": 5}');
  await Promise.all([page.waitForNavigation(), page.click("form[action='/policy#try'] button")]);
  const verdict = await page.$eval(".notice", (notice) => notice.textContent);
  await shot(page, "policy-tried");
  told("tried", { asks: verdict.includes("approval-required") });

  await page.goto(`${given.origin}/receipts`);
  const receipt = await page.$eval("td a", (link) => link.getAttribute("href"));
  await look(person, "receipt", receipt);
  await page.setViewport({ width: 1280, height: 1000, deviceScaleFactor: 1 });
  await page.goto(given.origin + long);
  await page.screenshot({ path: join(given.shots, "console-approval.png") });

  await page.goto(`${given.origin}/agents`);
  await Promise.all([page.waitForNavigation(), page.click("form[action$='/pause'] button")]);
  await shot(page, "agents-paused");
  const paused = await request('{"amount": 1}');
  // Whoever holds the cookie and the token of a page still cannot let the agent go on: it takes a signature.
  const unsigned = await page.evaluate(async () => {
    const csrf = document.querySelector('meta[name="exeat-csrf"]').content;
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const body = new URLSearchParams({ csrf });
    return (await fetch("/agents/coder/resume", { method: "POST", headers, body })).status;
  });
  told("paused", { code: paused.type, unsigned });
  await Promise.all([page.waitForNavigation(), page.click("form[action$='/resume'] button")]);

  await Promise.all([page.waitForNavigation(), page.click("form[action='/sign-out'] button")]);
  await page.goto(`${given.origin}/receipts`);
  told("signed-out", { at: new URL(page.url()).pathname });
  told("secrets", { found: secrets });

  const post = ["--request", "POST", "--header", "content-type: application/json", "--data", "{}"];
  told("strangers", {
    otherHost: await status("/sign-in", ["--header", "host: evil.test"]),
    address: await status("/sign-in", ["--header", `host: 127.0.0.1:${new URL(given.origin).port}`]),
    noOrigin: await status("/sign-in/begin", post),
    otherOrigin: await status("/sign-in/begin", [...post, "--header", "origin: https://evil.test"]),
    framed: await status("/sign-in", ["--header", "sec-fetch-site: cross-site", "--header", "sec-fetch-mode: navigate",
      "--header", "sec-fetch-dest: iframe"]),
    page: await status("/receipts"),
    api: await status("/api/v1/approvals"),
    events: await status("/events"),
    change: await status("/agents/coder/resume", [...post, "--header", `origin: ${given.origin}`]),
  });
} finally {
  await close();
}
