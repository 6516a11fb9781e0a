// Node's own HTTP servers over TLS, with the rarer parts of HTTP; see the table `answers`.
//
//     node front.mjs [--version 1|2] --key FILE --cert FILE --record FILE
//
// Prints {"port": N} when ready and ends when its standard input ends. Version 2 takes HTTP/2 only. Each request is
// appended to the record as a line of JSON with the Authorization header.

import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import process from "node:process";
import { parseArgs } from "node:util";

const names = ["version", "key", "cert", "record"];
const { values: options } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

let go;
const gone = new Promise((resolve) => (go = resolve));

async function read(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const answers = {
  // The body as it came, whichever method.
  async "/echo"(request, response) {
    const body = await read(request);
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length });
    response.end(body);
  },
  // What came: for bodies too large to send back.
  async "/sink"(request, response) {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const part of request) {
      hash.update(part);
      bytes += part.length;
    }
    answer(response, { bytes, sha256: hash.digest("hex"), trailers: request.trailers });
  },
  "/nothing"(_request, response) {
    response.writeHead(204);
    response.end();
  },
  // A status of 103 before the real one (RFC 8297).
  "/early"(_request, response) {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    answer(response, { early: true });
  },
  "/trailers"(_request, response) {
    response.writeHead(200, { "content-type": "text/plain", trailer: "x-checksum" });
    response.write("the body\n");
    response.addTrailers({ "x-checksum": "crc-of-the-body" });
    response.end();
  },
  // One event; the others follow when somebody asks for /go.
  async "/events"(_request, response) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("id: 1\ndata: first\n\n");
    await gone;
    response.write("id: 2\ndata: second\n\n");
    response.end("id: 3\ndata: third\n\n");
  },
  "/go"(_request, response) {
    go();
    answer(response, { went: true });
  },
};

function answer(response, value) {
  const raw = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { "content-type": "application/json", "content-length": raw.length });
  response.end(raw);
}

function serve(request, response) {
  const { method, url: path, httpVersion: version } = request;
  const { authorization = null, expect = null } = request.headers;
  appendFileSync(options.record, `${JSON.stringify({ method, path, version, authorization, expect })}\n`);
  const found = answers[path.split("?")[0]];
  if (found) return found(request, response);
  response.writeHead(404);
  response.end();
}

const tls = { key: readFileSync(options.key), cert: readFileSync(options.cert) };
const front = options.version === "2" ? http2.createSecureServer(tls, serve) : https.createServer(tls, serve);
front.on("checkContinue", (request, response) => {
  response.writeContinue();
  serve(request, response);
});
front.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: front.address().port })));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
