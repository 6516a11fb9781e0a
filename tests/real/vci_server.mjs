// An issuer of verifiable credentials: `oidc-provider` as it is, with OpenID4VCI, behind TLS; and a shop that takes them.
//
// node vci_server.mjs --real DIR --dir DIR --key FILE --cert FILE
//
// Prints {"port": N} when ready and ends when its standard input ends. The issuer is https://vci.example.com. Into --dir it
// writes issuer.jwk, the public key that credentials are signed with, offer.txt, one offer with a code that holds once and
// the PIN behind it, and seen.log, a line for each request. The shop is https://shop.example.com/buy: it checks the
// credential and the proof of its key with `jose`.

import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: { real: { type: "string" }, dir: { type: "string" }, key: { type: "string" }, cert: { type: "string" } },
});

// Standard output is for the one line.
console.info = console.error;

const ISSUER = "https://vci.example.com";
const PIN = "493536";
const modules = path.join(options.real, "node", "node_modules");
const { Provider } = await import(pathToFileURL(path.join(modules, "oidc-provider/lib/index.js")));
const { SignJWT, compactVerify, decodeProtectedHeader, exportJWK, generateKeyPair, importJWK, jwtVerify } = await import(
  pathToFileURL(createRequire(path.join(modules, "oidc-provider/package.json")).resolve("jose"))
);

mkdirSync(options.dir, { recursive: true });
const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
const signing = { ...(await exportJWK(privateKey)), alg: "ES256", use: "sig", kid: "tokens" };
writeFileSync(path.join(options.dir, "issuer.jwk"), JSON.stringify(await exportJWK(publicKey)));

const digest = (text) => createHash("sha256").update(text).digest("base64url");

async function credential(jwk) {
  const shown = ["role", "buyer"];
  const disclosure = Buffer.from(JSON.stringify([randomBytes(16).toString("base64url"), ...shown])).toString("base64url");
  const jwt = await new SignJWT({ vct: "licence", _sd: [digest(disclosure)], _sd_alg: "sha-256", cnf: { jwk } })
    .setProtectedHeader({ alg: "ES256", typ: "dc+sd-jwt" })
    .setIssuer(ISSUER)
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(privateKey);
  return `${jwt}~${disclosure}~`;
}

const provider = new Provider(ISSUER, {
  jwks: { keys: [signing] },
  cookies: { keys: [randomBytes(16).toString("hex")] },
  clients: [
    {
      client_id: "exeat",
      token_endpoint_auth_method: "none",
      grant_types: ["urn:ietf:params:oauth:grant-type:pre-authorized_code"],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: "ES256",
    },
  ],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  scopes: ["licence"],
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, audience) => ({ scope: "licence", audience, accessTokenFormat: "opaque" }),
    },
    openid4vci: {
      enabled: true,
      ack: "experimental-01",
      nonceSecret: randomBytes(32),
      preAuthorizedCodeGrant: true,
      metadata: {},
      credentialConfigurationPolicy: () => true,
      credentialConfigurationsSupported: {
        licence: {
          format: "dc+sd-jwt",
          vct: "licence",
          scope: "licence",
          cryptographic_binding_methods_supported: ["jwk"],
          proof_types_supported: { jwt: { proof_signing_alg_values_supported: ["ES256"] } },
        },
      },
      issueCredential: async (ctx, { proofs }) => ({
        credentials: [{ credential: await credential(decodeProtectedHeader(proofs.jwt[0]).jwk) }],
      }),
    },
  },
});

const grant = new provider.Grant({ clientId: "exeat", accountId: "ann" });
grant.addResourceScope(`${ISSUER}/credential`, "licence");
const code = new provider.PreAuthorizedCode({
  client: await provider.Client.find("exeat"),
  accountId: "ann",
  grantId: await grant.save(),
  scope: "licence",
  resource: `${ISSUER}/credential`,
  txCode: PIN,
  expiresIn: 600,
});
const offer = {
  credential_issuer: ISSUER,
  credential_configuration_ids: ["licence"],
  grants: { "urn:ietf:params:oauth:grant-type:pre-authorized_code": { "pre-authorized_code": await code.save(), tx_code: {} } },
};
const query = encodeURIComponent(JSON.stringify(offer));
writeFileSync(path.join(options.dir, "offer.txt"), `openid-credential-offer://?credential_offer=${query}\n${PIN}\n`);

provider.proxy = false;
provider.on("server_error", (ctx, error) => console.error(error));
const answer = provider.callback();

async function shop(request) {
  const shown = request.headers.authorization.replace(/^Bearer /, "");
  const body = shown.slice(0, shown.lastIndexOf("~") + 1);
  const [jwt, ...disclosures] = body.split("~").slice(0, -1);
  const { payload } = await jwtVerify(jwt, publicKey, { issuer: ISSUER, typ: "dc+sd-jwt" });
  const holder = await importJWK(payload.cnf.jwk, "ES256");
  const proof = await compactVerify(shown.slice(body.length), holder);
  const said = JSON.parse(Buffer.from(proof.payload));
  if (said.sd_hash !== digest(body) || said.aud !== "https://shop.example.com") throw new Error("another proof");
  if (!disclosures.every((one) => payload._sd.includes(digest(one)))) throw new Error("a foreign claim");
  return disclosures.map((one) => JSON.parse(Buffer.from(one, "base64url")).slice(1));
}

const tls = { key: readFileSync(options.key), cert: readFileSync(options.cert) };
const server = https.createServer(tls, async (request, response) => {
  const { host } = request.headers;
  appendFileSync(path.join(options.dir, "seen.log"), JSON.stringify({ host, path: request.url }) + "\n");
  if (host !== "shop.example.com") return answer(request, response);
  try {
    const claims = await shop(request);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ claims }));
  } catch (error) {
    response.writeHead(401, { "content-type": "application/json" }).end(JSON.stringify({ refused: String(error) }));
  }
});
server.listen(0, "127.0.0.1", () => process.stdout.write(JSON.stringify({ port: server.address().port }) + "\n"));
process.stdin.on("end", () => process.exit(0)).resume();
