// A small API behind TLS that pays whom it is told to, and writes down what it was asked.
//
//   pay_server.mjs --record FILE --key FILE --cert FILE

import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:https";
import { parseArgs } from "node:util";

const names = ["record", "key", "cert"];
const { values: given } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });

const server = createServer({ key: readFileSync(given.key), cert: readFileSync(given.cert) }, (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const { authorization } = request.headers;
    const seen = { line: `${request.method} ${request.url}`, body: Buffer.concat(parts).toString(), authorization };
    appendFileSync(given.record, `${JSON.stringify(seen)}\n`);
    response.setHeader("content-type", "application/json");
    response.end('{"paid":true}');
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on("end", () => process.exit(0)).resume();
