// A real Chromium with a virtual authenticator in it (WebDriver's WebAuthn extension, over CDP), for tests of the console.
// Everything stays on this machine. `start(real)` takes the folder that `scripts/real-deps` prints.

import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

// What an authenticator in a laptop is like: it knows its user, and says yes at once.
const LAPTOP = {
  protocol: "ctap2",
  ctap2Version: "ctap2_1",
  transport: "internal",
  hasResidentKey: true,
  hasUserVerification: true,
  isUserVerified: true,
  automaticPresenceSimulation: true,
};

// Starts Chromium with a profile of its own.
export async function start(real, more = []) {
  const puppeteer = createRequire(join(real, "node/node_modules/"))("puppeteer-core");
  const profile = mkdtempSync(join(tmpdir(), "exeat-browser-"));
  const args = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", ...more,
  ];
  const browser = await puppeteer.launch({ executablePath: CHROMIUM, headless: true, userDataDir: profile, args });
  const close = async () => {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { browser, close };
}

// A tab, with its own authenticator and what went wrong on its pages.
export async function tab(browser, options = {}) {
  const page = await browser.newPage();
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(error.message));
  page.on("console", (line) => {
    if (line.type() === "error") troubles.push(line.text());
  });
  const cdp = await page.createCDPSession();
  await cdp.send("WebAuthn.enable");
  const added = await cdp.send("WebAuthn.addVirtualAuthenticator", { options: { ...LAPTOP, ...options } });
  const { authenticatorId } = added;
  return {
    page,
    troubles,
    verified: (isUserVerified) => cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified }),
    keys: async () => (await cdp.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
    // Puts a key of another tab's authenticator into this one's: the same device.
    give: (credential) => cdp.send("WebAuthn.addCredential", { authenticatorId, credential }),
  };
}

// Enrols a passkey with the page that `exeat console enroll` prints, and waits until it is in.
export async function enrol({ page }, url, device = "Laptop") {
  await page.goto(url);
  await page.type("#device", device);
  await Promise.all([page.waitForNavigation(), page.click("form[data-enrol] button")]);
}

// Signs in with a key that is there.
export async function signIn({ page }, origin) {
  await page.goto(`${origin}/sign-in`);
  await Promise.all([page.waitForNavigation(), page.click("[data-sign-in] button")]);
}

// Sends JSON from within a page, with what its head holds against forgery; gives status and answer.
export function post({ page }, path, body) {
  return page.evaluate(async (path, body) => {
    const csrf = document.querySelector('meta[name="exeat-csrf"]')?.content ?? "";
    const headers = { "content-type": "application/json", "exeat-csrf": csrf };
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: response.status, answer: await response.json().catch(() => ({})) };
  }, path, body);
}

// Has the tab's authenticator sign, as the pages of the console do it; gives the assertion, or the name of the error.
export function sign({ page }, asked) {
  return page.evaluate(async (asked) => {
    const script = document.querySelector('script[src*="/assets/"]').src;
    const { sign } = await import(new URL("passkey.js", script));
    return sign(asked).then((assertion) => ({ assertion }), (error) => ({ error: error.name }));
  }, asked);
}

// Prints one step's outcome; tests read these lines.
export const told = (step, outcome) => console.log(JSON.stringify({ step, ...outcome }));
