// An authorization server and an API: `oidc-provider` as it is, behind TLS, and one protected path beside it.
//
// node oauth_server.mjs --real DIR --key FILE --cert FILE --record FILE --clients FILE [--ca FILE] [--life SECONDS]
//
// Prints {"port": N} when ready and ends when its standard input ends. The issuer is https://as.test, the API is
// https://api.test: the name that a request asks for decides. Every request to the token endpoint and to the API is
// appended to the record file as a line of JSON, with the hash of the token it came with.
//
// `--clients` is a JSON array of clients in the words of oidc-provider. With `--ca` a second port, "mtls", asks for
// certificates that this root has signed. Token exchange (RFC 8693) and JWT bearer (RFC 7523) are not built into
// oidc-provider; they are added here by its own way of adding grants.
//
// The API at /echo checks a token by asking the provider, wants a DPoP nonce of its own, and lacks a scope on /write.

import { createHash, createPublicKey, randomBytes, verify } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import https from "node:https";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    real: { type: "string" },
    key: { type: "string" },
    cert: { type: "string" },
    record: { type: "string" },
    clients: { type: "string" },
    ca: { type: "string" },
    life: { type: "string", default: "3600" },
  },
});

// Standard output is for the one line; whoever reads that goes away.
console.info = console.error;

const ISSUER = "https://as.test";
const LIFE = Number(options.life);
const modules = path.join(options.real, "node", "node_modules");
const { Provider, errors } = await import(pathToFileURL(path.join(modules, "oidc-provider/lib/index.js")));
const { calculateJwkThumbprint, decodeProtectedHeader, exportJWK, generateKeyPair, jwtVerify, importJWK } = await import(
  pathToFileURL(createRequire(path.join(modules, "oidc-provider/package.json")).resolve("jose"))
);

const hash = (text) => createHash("sha256").update(text).digest("hex");
const record = (line) => appendFileSync(options.record, JSON.stringify(line) + "\n");

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: alg };
}

const tls = { key: readFileSync(options.key), cert: readFileSync(options.cert) };
const clients = JSON.parse(readFileSync(options.clients, "utf8"));
const nonceSecret = randomBytes(32);
let mtls = 0;

const provider = new Provider(ISSUER, {
  jwks: { keys: [await signingKey("RS256"), await signingKey("ES256")] },
  cookies: { keys: [randomBytes(16).toString("hex")] },
  clients,
  clientAuthMethods: [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "self_signed_tls_client_auth",
    "tls_client_auth",
  ],
  discovery: options.ca && { mtls_endpoint_aliases: { token_endpoint: "https://mtls.test/token" } },
  pkce: { required: () => true },
  rotateRefreshToken: () => true,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed("refresh_token"),
  scopes: ["openid", "offline_access", "api:read", "api:write"],
  ttl: { AccessToken: LIFE, ClientCredentials: LIFE, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600 },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    dPoP: { enabled: true, nonceSecret, requireNonce: () => true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: false,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === "tls_client_auth_subject_dn" && ctx.socket.getPeerX509Certificate().subject === expected,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, audience) => ({
        scope: "api:read api:write",
        audience,
        accessTokenTTL: LIFE,
        accessTokenFormat: "opaque",
      }),
    },
  },
});

async function find(token) {
  return (await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token));
}

// A grant that nobody agreed to, as any adapter of a deployment would write it.
async function issue(ctx, scope, more) {
  const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope });
  ctx.body = { access_token: await token.save(), token_type: "Bearer", expires_in: LIFE, scope, ...more };
}

provider.registerGrantType(
  "urn:ietf:params:oauth:grant-type:token-exchange",
  async (ctx) => {
    const { subject_token: token, subject_token_type: type, audience } = ctx.oidc.params;
    const known = await find(token);
    if (!known || type !== "urn:ietf:params:oauth:token-type:access_token") throw new errors.InvalidGrant("subject");
    if (audience !== "https://api.test") throw new errors.InvalidTarget();
    await issue(ctx, "api:read", { issued_token_type: type });
  },
  ["subject_token", "subject_token_type", "requested_token_type", "audience", "scope"],
);

provider.registerGrantType(
  "urn:ietf:params:oauth:grant-type:jwt-bearer",
  async (ctx) => {
    const keys = ctx.oidc.client.jwks.keys;
    const { alg } = decodeProtectedHeader(ctx.oidc.params.assertion);
    const key = await importJWK(keys[0], alg);
    const wanted = { audience: ISSUER, subject: "alice", issuer: ctx.oidc.client.clientId, maxTokenAge: 90 };
    try {
      await jwtVerify(ctx.oidc.params.assertion, key, wanted);
    } catch (error) {
      throw new errors.InvalidGrant(error.message);
    }
    await issue(ctx, ctx.oidc.params.scope);
  },
  ["assertion", "scope"],
);

provider.on("grant.error", (ctx, error) => record({ kind: "grant-error", error: error.error, detail: error.error_detail ?? error.error_description }));
provider.on("server_error", (ctx, error) => record({ kind: "server-error", error: String(error?.stack ?? error) }));
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === "/token" && slow) {
    slow = false;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  if (ctx.body?.access_token) issued.add(ctx.body.access_token);
  const grant = ctx.oidc?.entities?.Grant?.jti;
  if (grant) grants.add(grant);
  if (ctx.path === "/token") {
    const params = ctx.oidc?.params ?? {};
    record({
      kind: "token",
      grant: params.grant_type,
      client: ctx.oidc?.client?.clientId,
      status: ctx.status,
      error: ctx.body?.error,
      bound: ctx.body?.token_type,
      dpop: Boolean(ctx.get("dpop")),
      resource: params.resource,
      scope: params.scope,
      access: ctx.body?.access_token && hash(ctx.body.access_token),
      refresh: ctx.body?.refresh_token && hash(ctx.body.refresh_token),
    });
  }
});

// The nonce of the API is its own, and not that of the provider.
const apiNonce = randomBytes(9).toString("base64url");

function refuse(response, status, challenge, headers = {}) {
  response.writeHead(status, { "www-authenticate": challenge, "content-type": "application/json", ...headers });
  response.end("{}");
}

// What is wrong with a proof (RFC 9449 section 4.3), or nothing.
async function wrongProof(request, token, stored) {
  const proof = request.headers.dpop;
  if (typeof proof !== "string") return "missing";
  const [head, claims, signature] = proof.split(".");
  const header = JSON.parse(Buffer.from(head, "base64url"));
  const said = JSON.parse(Buffer.from(claims, "base64url"));
  const key = createPublicKey({ key: header.jwk, format: "jwk" });
  const signed = verify("sha256", Buffer.from(`${head}.${claims}`), { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
  if (!signed || header.typ !== "dpop+jwt" || header.jwk.d) return "signature";
  if (said.htm !== request.method || said.htu !== `https://api.test${request.url.split("?")[0]}`) return "target";
  if (said.ath !== createHash("sha256").update(token).digest("base64url")) return "ath";
  if ((await calculateJwkThumbprint(header.jwk)) !== stored.jkt) return "key";
  if (said.nonce !== apiNonce) return "nonce";
  return undefined;
}

async function api(request, response) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  const stored = token && (await find(token));
  const line = { kind: "api", path: request.url, scheme, token: token && hash(token), active: Boolean(stored) };
  if (!stored) {
    record({ ...line, status: 401 });
    return refuse(response, 401, 'Bearer error="invalid_token"');
  }
  if (stored.jkt) {
    const wrong = scheme === "DPoP" ? await wrongProof(request, token, stored) : "scheme";
    if (wrong) {
      record({ ...line, status: 401, wrong });
      const error = wrong === "nonce" ? "use_dpop_nonce" : "invalid_dpop_proof";
      return refuse(response, 401, `DPoP error="${error}"`, { "dpop-nonce": apiNonce });
    }
  }
  if (request.url.startsWith("/write") && !stored.scope?.split(" ").includes("api:write")) {
    record({ ...line, status: 403 });
    return refuse(response, 403, 'Bearer error="insufficient_scope", scope="api:write"');
  }
  if (holding) {
    record({ ...line, kind: "held" });
    await holding.until;
    return request.socket.destroy();
  }
  record({ ...line, status: 200, client: stored.clientId, scope: stored.scope, aud: stored.aud });
  // A careless API that shows the token it was called with.
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ path: request.url, client: stored.clientId, scope: stored.scope, authorization: request.headers.authorization }));
}

// What is done behind everybody's back.
let holding;
let slow = false;
const issued = new Set();
const grants = new Set();

async function control(request, response) {
  switch (request.url) {
    case "/forget": // every access token
      for (const token of issued) await (await find(token))?.destroy();
      break;
    case "/revoke-all": // every grant, with all that came of it
      for (const token of issued) await (await find(token))?.destroy();
      for (const id of grants) {
        await provider.RefreshToken.revokeByGrantId(id);
        await (await provider.Grant.find(id))?.destroy();
      }
      break;
    case "/hold": { // the API answers nothing
      let letGo;
      holding = { until: new Promise((resolve) => (letGo = resolve)), letGo: () => letGo() };
      break;
    }
    case "/let-go":
      holding?.letGo();
      holding = undefined;
      break;
    case "/slow": // one answer of the token endpoint takes a second
      slow = true;
      break;
  }
  response.end("{}");
}

const callback = provider.callback();
const front = (request, response) => {
  const host = (request.headers.host ?? "").split(":")[0];
  if (host === "api.test") return api(request, response);
  if (host === "control.test") return control(request, response);
  return callback(request, response);
};

function listen(options) {
  return new Promise((resolve) => {
    const server = https.createServer(options, front).listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

if (options.ca) {
  // A certificate is asked for and not insisted on: whether it is good, the provider says.
  mtls = await listen({ ...tls, ca: readFileSync(options.ca), requestCert: true, rejectUnauthorized: false });
}
const port = await listen(tls);
console.log(JSON.stringify({ port, mtls }));

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
process.on("SIGTERM", () => process.exit(0));
