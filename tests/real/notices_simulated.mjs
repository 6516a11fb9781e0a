// Simulated: an ntfy server and a Slack-compatible webhook behind TLS. It writes down what it was sent, and its answers say
// yes to everything, which must approve nothing.
//
//   notices_simulated.mjs --record FILE --key FILE --cert FILE

import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:https";
import { parseArgs } from "node:util";

const names = ["record", "key", "cert"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const server = createServer({ key: readFileSync(given.key), cert: readFileSync(given.cert) }, (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const { headers, method, url } = request;
    const seen = { host: headers.host, line: `${method} ${url}`, headers, body: Buffer.concat(parts).toString() };
    appendFileSync(given.record, `${JSON.stringify(seen)}\n`);
    response.setHeader("content-type", "application/json");
    response.end('{"approved":true,"answer":"grant"}');
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on("end", () => process.exit(0)).resume();
