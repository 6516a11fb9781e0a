// Enrols in the console with a virtual authenticator and stays signed in: prints the session as one line of JSON, and ends,
// browser and all, when its standard input does. With --extension it also loads that extension, and answers `badge TEXT`
// with what its badge shows, at the latest when that is the text, and `open` with the page that a click leads to.
//
//   session.mjs --real DIR --origin URL --enroll URL [--extension DIR]

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { enrol, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "extension"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const extra = given.extension
  ? [`--disable-extensions-except=${given.extension}`, `--load-extension=${given.extension}`, "--disable-features=DisableLoadExtensionCommandLineSwitch"]
  : [];
const { browser, close } = await start(given.real, extra);
try {
  const first = await tab(browser);
  let worker;
  if (given.extension) {
    const target = await browser.waitForTarget((one) => one.type() === "service_worker" && one.url().endsWith("/worker.js"));
    worker = await target.worker();
    await ready(worker);
    told("signed-out", await badge(worker, "?"));
  }
  await enrol(first, given.enroll);
  const [cookie] = await first.page.cookies();
  const csrf = await first.page.evaluate(async () => (await (await fetch("/api/v1/session")).json()).csrf);
  told("session", { cookie: `${cookie.name}=${cookie.value}`, csrf });
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.startsWith("badge ")) told("badge", await badge(worker, line.slice("badge ".length)));
    if (line === "open") told("open", await opened(worker));
  }
} finally {
  await close();
}

// Its interfaces come a moment after it.
async function ready(worker) {
  await worker.evaluate(async () => {
    for (let left = 100; left > 0 && !globalThis.chrome?.storage?.local; left -= 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

// What the extension shows once it has looked at the console that is told to it.
async function badge(worker, wanted) {
  return worker.evaluate(async (origin, wanted) => {
    await chrome.storage.local.set({ origin, asked: crypto.randomUUID() });
    let text;
    for (let left = 100; left > 0; left -= 1) {
      text = await chrome.action.getBadgeText({});
      if (text === wanted) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return { text, title: await chrome.action.getTitle({}) };
  }, given.origin, wanted);
}

// Where a click on it leads.
async function opened(worker) {
  const made = browser.waitForTarget((one) => one.url().startsWith(`${given.origin}/approvals`));
  await worker.evaluate(() => chrome.action.onClicked.dispatch({}));
  return { url: (await made).url() };
}
