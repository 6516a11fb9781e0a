// GitHub's API as its published description says it is: the mock server prism behind a TLS front of our own.
//
// node github.mjs --real DIR --key FILE --cert FILE --record FILE
//
// Prints {"port": N} when ready and ends when its standard input ends. Each request is appended to the record file as a
// line of JSON with the Authorization header as it arrived. With `x-echo: authorization` the response repeats that
// header in `x-seen-authorization`, as careless servers do. The mock knows no GraphQL: `/graphql` answers everything with the
// same data, and the record has the document.

import { spawn } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import path from "node:path";
import process from "node:process";
import readline from "node:readline";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    real: { type: "string" },
    key: { type: "string" },
    cert: { type: "string" },
    record: { type: "string" },
  },
});

const modules = path.join(options.real, "node", "node_modules");
const prism = spawn(
  process.execPath,
  [
    path.join(modules, "@stoplight/prism-cli/dist/index.js"),
    ...["mock", "--host", "127.0.0.1", "--port", "0"],
    path.join(modules, "@octokit/openapi/generated/api.github.com.json"),
  ],
  { stdio: ["ignore", "pipe", "inherit"] },
);

function stop(status) {
  prism.kill();
  process.exit(status);
}
process.stdin.resume();
process.stdin.on("end", () => stop(0));
process.on("SIGTERM", () => stop(0));
prism.on("exit", () => stop(1));

const prismPort = await new Promise((resolve) => {
  readline.createInterface({ input: prism.stdout }).on("line", (line) => {
    const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
    if (found) resolve(Number(found[1]));
  });
});

// What belongs to one connection is not passed on, and the token is none of the mock's business.
const own = ["connection", "host", "authorization", "keep-alive", "te", "transfer-encoding", "upgrade"];

function forwarded(headers) {
  const kept = Object.entries(headers).filter(([name]) => !name.startsWith(":") && !own.includes(name));
  const result = Object.fromEntries(kept);
  // GitHub serves its own media type as JSON; the description lists only JSON.
  if (result.accept?.includes("application/vnd.github")) result.accept = "application/json";
  return result;
}

function graphql(request, response, record) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    record.query = JSON.parse(Buffer.concat(chunks)).query;
    appendFileSync(options.record, `${JSON.stringify(record)}\n`);
    response.writeHead(200, { "content-type": "application/json; charset=utf-8" });
    response.end(JSON.stringify({ data: { viewer: { login: "octocat" } } }));
  });
}

function serve(request, response) {
  const seen = request.headers.authorization ?? null;
  const record = { method: request.method, path: request.url, authorization: seen };
  if (request.url === "/graphql") return graphql(request, response, record);
  appendFileSync(options.record, `${JSON.stringify(record)}\n`);
  const target = { host: "127.0.0.1", port: prismPort, method: request.method, path: request.url };
  const upstream = http.request({ ...target, headers: forwarded(request.headers) }, (answer) => {
    const headers = forwarded(answer.headers);
    if (request.headers["x-echo"] === "authorization") headers["x-seen-authorization"] = seen ?? "";
    response.writeHead(answer.statusCode, headers);
    answer.pipe(response);
  });
  upstream.on("error", () => {
    response.writeHead(502);
    response.end();
  });
  request.pipe(upstream);
}

const tls = { key: readFileSync(options.key), cert: readFileSync(options.cert), allowHTTP1: true };
const front = http2.createSecureServer(tls, serve);
front.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: front.address().port })));
