// A program that uses Node's clients as their documentation shows it: each step named is tried, and its outcome printed
// as a line of JSON.
//
//     node node.mjs --modules DIR fetch axios http2 early trailers send-trailers http2-trailers

import http2 from "node:http2";
import https from "node:https";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options, positionals: steps } = parseArgs({
  allowPositionals: true,
  options: { modules: { type: "string" } },
});
const site = "https://front.example.com";
const authorization = `Bearer ${process.env.FRONT_TOKEN}`;
const headers = { authorization };

async function text(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}

function ask(place, more, send = (request) => request.end()) {
  return new Promise((resolve, reject) => {
    let hints = null;
    const request = https.request(`${site}${place}`, { headers, ...more }, async (response) => {
      const body = await text(response);
      resolve({ status: response.statusCode, body, hints, trailers: response.trailers });
    });
    request.on("information", (early) => (hints = early.headers.link));
    request.on("error", reject);
    send(request);
  });
}

async function second(place, method, body) {
  const session = http2.connect(site);
  const stream = session.request({ ":path": place, ":method": method, authorization }, { endStream: !body });
  const outcome = {};
  stream.on("response", (head) => (outcome.status = head[":status"]));
  stream.on("trailers", (trailers) => (outcome.trailers = { ...trailers }));
  if (body) stream.end(body);
  outcome.body = await text(stream);
  session.close();
  return outcome;
}

const known = {
  async fetch() {
    const response = await fetch(`${site}/echo`, { method: "POST", headers, body: "the body" });
    return { status: response.status, body: await response.text() };
  },
  async axios() {
    const entry = path.join(options.modules, "axios/index.js");
    const { default: axios } = await import(pathToFileURL(entry));
    const response = await axios.post(`${site}/echo`, "the body", { headers, responseType: "text" });
    return { status: response.status, body: response.data };
  },
  http2: () => second("/echo", "POST", "the body"),
  early: () => ask("/early"),
  trailers: () => ask("/trailers", { headers: { ...headers, te: "trailers" } }),
  "send-trailers": () =>
    ask("/sink", { method: "POST", headers: { ...headers, trailer: "x-checksum" } }, (request) => {
      request.write("the body");
      request.addTrailers({ "x-checksum": "crc-of-the-body" });
      request.end();
    }),
  "http2-trailers": () => second("/trailers", "GET"),
};

for (const step of steps) console.log(JSON.stringify({ step, ...(await known[step]()) }));
process.exit(0);
