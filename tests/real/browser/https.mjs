// The console over https under a name, as a phone would reach it: the cookie, the QR code, and a second device that is let
// in once the first has vouched for it. Chromium is told where the name leads and which certificate it takes. Prints one
// line of JSON for each step.
//
//   https.mjs --real DIR --origin URL --enroll URL --port PORT --cert FILE

import { X509Certificate, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { enrol, post, signIn, start, tab, told } from "./driver.mjs";

const names = ["real", "origin", "enroll", "proxy", "roots", "target", "port", "cert"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const key = new X509Certificate(readFileSync(given.cert)).publicKey.export({ type: "spki", format: "der" });
const { browser, close } = await start(given.real, [
  `--host-resolver-rules=MAP ${new URL(given.origin).hostname} 127.0.0.1:${given.port}`,
  `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
]);
const at = ({ page }) => new URL(page.url()).pathname;
try {
  const first = await tab(browser);
  const { page } = first;
  await enrol(first, given.enroll);
  const [{ name, secure, httpOnly, sameSite, path, domain }] = await page.cookies();
  told("cookie", { name, secure, httpOnly, sameSite, path, domain });
  await page.deleteCookie(...(await page.cookies()));
  await page.goto(`${given.origin}/approvals`);
  const signedOut = at(first);
  await signIn(first, given.origin);
  const isSecure = await page.evaluate(() => isSecureContext && location.protocol);
  told("signed-in", { signedOut, at: at(first), isSecure });

  await page.goto(`${given.origin}/pair`);
  await Promise.all([page.waitForNavigation(), page.click("main form button")]);
  const code = await page.$eval(".qr svg", (svg) => {
    const { width, height } = svg.getBoundingClientRect();
    return { square: width === height && width >= 200, drawn: svg.querySelectorAll("path, rect").length > 1 };
  });
  const link = await page.$eval('a[href*="/enroll?code="]', (one) => one.href);
  told("qr", { ...code, here: link.startsWith(`${given.origin}/enroll?code=`) });

  // The phone follows the code. It is nobody until the first device vouches for it, and the code is good once.
  const context = await browser.createBrowserContext();
  const phone = await tab(context, { transport: "hybrid" });
  await phone.page.goto(link);
  await phone.page.type("#device", "Phone");
  await phone.page.click("form[data-enrol] button");
  await page.bringToFront();
  await page.goto(`${given.origin}/account`);
  await page.waitForSelector("[data-vouch]");
  const stranger = await tab(await browser.createBrowserContext(), { transport: "hybrid" });
  for (const one of await phone.keys()) await stranger.give(one);
  await stranger.page.goto(`${given.origin}/sign-in`);
  await stranger.page.click("[data-sign-in] button");
  await stranger.page.waitForFunction(() => !document.querySelector("[data-sign-in] button").disabled);
  const early = at(stranger);
  const used = await post(stranger, "/enroll/begin", { code: new URL(link).searchParams.get("code") });
  await page.bringToFront();
  await Promise.all([page.waitForNavigation(), page.click("[data-vouch]")]);
  await phone.page.bringToFront();
  await phone.page.waitForFunction(() => location.pathname === "/sign-in");
  await signIn(phone, given.origin);
  told("paired", { early, used: used.status, at: at(phone) });
  told("page", { errors: [...first.troubles, ...phone.troubles] });
} finally {
  await close();
}
