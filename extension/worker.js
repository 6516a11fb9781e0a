// Asks the console how many questions wait, with the session that its user has in this browser, and shows the number.
// It answers none of them: a click opens the console's page, where a passkey does.

import { load } from "./origin.js";

const ALARM = "look";
const MINUTES = 0.5;
const PATIENCE = 8000;
// Ids of approvals; nothing else becomes part of an address.
const ID = /^apr-[0-9a-z]{1,40}$/;

const STATES = {
  quiet: { text: "", color: "#5b6472", title: "Exeat: nothing waits for you" },
  signedOut: { text: "?", color: "#5b6472", title: "Exeat: sign in to the console to see what waits" },
  away: { text: "!", color: "#5b6472", title: "Exeat: the console does not answer" },
};

async function read(origin, path) {
  const answer = await fetch(`${origin}/api/v1/${path}`, {
    credentials: "include",
    cache: "no-store",
    redirect: "error",
    referrerPolicy: "no-referrer",
    headers: { accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (answer.status === 401) return { state: STATES.signedOut };
  return answer.ok ? { told: await answer.json() } : { state: STATES.away };
}

// What waits: questions, and requests of agents for more than their rules give.
async function ask(origin) {
  const [health, page] = await Promise.all([read(origin, "health"), read(origin, "approvals?state=pending&limit=100")]);
  if (!health.told || !page.told) return { state: health.state ?? page.state, ids: [], count: 0 };
  const ids = page.told.items.map((one) => one.id).filter((id) => ID.test(id));
  const count = Number(health.told.waiting);
  if (!(count > 0)) return { state: STATES.quiet, ids, count: 0 };
  const title = count === 1 ? "Exeat: a question waits for you" : `Exeat: ${count} questions wait for you`;
  return { state: { text: count > 99 ? "99+" : String(count), color: "#b42318", title }, ids, count };
}

async function look() {
  const origin = await load();
  const found = await ask(origin).catch(() => ({ state: STATES.away, ids: [], count: 0 }));
  await chrome.action.setBadgeBackgroundColor({ color: found.state.color });
  await chrome.action.setBadgeText({ text: found.state.text });
  await chrome.action.setTitle({ title: found.state.title });
  return { origin, ...found };
}

// The page to open: the question if there is but one, the requests if nothing else waits, else all questions.
async function open() {
  const { origin, ids, count } = await look();
  let page = "/approvals";
  if (ids.length === 0 && count > 0) page = "/requests";
  if (ids.length === 1 && count === 1) page = `/approvals/${ids[0]}`;
  await chrome.tabs.create({ url: origin + page });
}

async function begin() {
  await chrome.alarms.create(ALARM, { periodInMinutes: MINUTES });
  await look();
}

chrome.runtime.onInstalled.addListener(begin);
chrome.runtime.onStartup.addListener(begin);
chrome.alarms.onAlarm.addListener((alarm) => (alarm.name === ALARM ? look() : undefined));
chrome.storage.onChanged.addListener(look);
chrome.action.onClicked.addListener(open);
