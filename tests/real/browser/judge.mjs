// @simplewebauthn/server as the judge of an export: every grant in it was signed by a key that was enrolled then, over the
// challenge that this program puts together by itself. Prints one line of JSON.
//
//   judge.mjs --real DIR --export FILE

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values: given } = parseArgs({ options: { real: { type: "string" }, export: { type: "string" } } });
const { verifyAuthenticationResponse } = createRequire(join(given.real, "node/node_modules/"))("@simplewebauthn/server");

// Canonical JSON of what these forms hold: texts, nothing, and one number.
const canonical = (form) =>
  `{${Object.keys(form).sort().map((name) => `${JSON.stringify(name)}:${JSON.stringify(form[name] ?? null)}`).join(",")}}`;
const challengeOf = (form) => createHash("sha256").update(canonical({ ...form, v: 1 })).digest("base64url");

const keys = new Map();
const verdicts = { enrolled: 0, vouched: 0, granted: 0, refused: 0 };

async function holds(vote, form) {
  const row = keys.get(vote.assertion.key);
  const { verified, authenticationInfo } = await verifyAuthenticationResponse({
    response: {
      id: vote.assertion.key,
      rawId: vote.assertion.key,
      type: "public-key",
      clientExtensionResults: {},
      response: {
        authenticatorData: vote.assertion.authenticator_data,
        clientDataJSON: vote.assertion.client_data,
        signature: vote.assertion.signature,
      },
    },
    expectedChallenge: challengeOf({ ...form, nonce: vote.nonce }),
    expectedOrigin: row.origin,
    expectedRPID: row.rp_id,
    credential: { id: vote.assertion.key, publicKey: new Uint8Array(Buffer.from(row.public_key, "base64url")), counter: 0 },
    requireUserVerification: true,
  });
  return verified && authenticationInfo.userVerified;
}

const lines = readFileSync(given.export, "utf8").trim().split("\n").slice(1);
for (const { kind, body } of lines.map((line) => JSON.parse(line))) {
  if (kind === "enrolment") {
    const { device, key, origin, public_key, rp_id, user, vouched } = body;
    if (vouched) {
      const form = { device, enrolment: public_key ? "add" : "remove", key, origin, public_key, rp_id, user };
      (await holds(vouched, form)) ? verdicts.vouched++ : verdicts.refused++;
    }
    public_key ? keys.set(key, body) : keys.delete(key);
    verdicts.enrolled += public_key ? 1 : 0;
  } else if (kind === "approval" && body.event === "granted") {
    const { agent, approval, digest, expires, vote } = body;
    const form = { agent, approval, digest, effect: vote.extent, expires };
    (await holds(vote, form)) ? verdicts.granted++ : verdicts.refused++;
  } else if (kind === "grant" && body.event === "approved" && body.by === "passkey") {
    const { agent, grant, digest, expires, vote } = body;
    const form = { agent, approval: grant, digest, effect: vote.extent, expires };
    (await holds(vote, form)) ? verdicts.granted++ : verdicts.refused++;
  }
}
console.log(JSON.stringify(verdicts));
