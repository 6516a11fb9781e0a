// Makes graphql.jsonl: random documents, and what graphql-js, the reference implementation, reads in each.
//
// npm install graphql@16 && node graphql.mjs > graphql.jsonl
//
// A line of it is {"query": text, "read": null | {"kinds": [..], "fields": [..], "selects": [..]}}: null when graphql-js does not
// parse it. Fields are those at the top of all operations, through fragments; selects are those at any depth.

import { parse } from "graphql";

let state = 20261122;
const random = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
};
const pick = (...all) => all[random(all.length)];
const maybe = (make) => (random(3) === 0 ? make() : "");
const name = () => pick("a", "b", "drop", "on", "query", "mutation", "fragment", "true", "null", "_x", "A1");
const gap = () => (random(25) === 0 ? pick(" # note\n", " # } mutation { hidden }\r") : pick(" ", "\n", "\r\n", ",", "\t", "\ufeff"));

function value(depth) {
  const plain = ["1", "-2.5e3", '"text"', '"\\u0041 } { \\" "', '"""block } \\""" "quote" """', "true", "null", "RED", "$v", '""'];
  if (depth > 2) return pick(...plain);
  return pick(...plain, `[${value(depth + 1)}${gap()}${value(depth + 1)}]`, `{k:${value(depth + 1)}}`, "{}", "[]");
}
const args = () => maybe(() => `(${name()}: ${value(0)}${gap()}other${gap()}:${value(0)})`);
const directives = () => maybe(() => `@${name()}${args()}`);
// Fragments use only those that come later, so that most documents have no circle.
function selection(depth, spreads = ["F", "G"]) {
  const parts = [];
  for (let n = random(3) + 1; n > 0; n--) {
    const below = depth < 3 ? maybe(() => selection(depth + 1, spreads)) : "";
    parts.push(pick(
      () => `${name()}${args()}${directives()}${below}`,
      () => `${name()}${gap()}:${gap()}${name()}${args()}${directives()}${below}`,
      () => (spreads.length > 0 ? `...${pick(...spreads)}${gap()}${directives()}` : "a"),
      () => `...${gap()}${pick("on T", "", "@a")}${gap()}${depth < 3 ? selection(depth + 1, spreads) : "{a}"}`,
    )());
  }
  return `{${gap()}${parts.join(gap())}${gap()}}`;
}
function definition(index) {
  const kind = pick("query", "mutation", "subscription");
  return pick(
    () => selection(0),
    () => `${kind} N${index}${maybe(() => `($v: [T!]! = ${value(1)})`)}${directives()}${selection(0)}`,
    () => `${kind}${gap()}${selection(0)}`,
  )();
}
const noise = () => pick("{", "}", '"', '"""', "\\", "#", "\u2028", "...", "&", "\u0000", ":", "@", "(", ")", "!");
function text() {
  const fragment = (n, spreads) => `fragment ${n} on T ${directives()} ${selection(1, spreads)}`;
  const parts = [definition(1)];
  if (random(6) === 0) parts.push(definition(2));
  if (random(12) > 0) parts.push(fragment("F", pick(["G"], ["G"], ["F", "G"])), fragment("G", []));
  if (random(4) === 0) parts.reverse();
  let all = parts.join(gap());
  if (random(3) === 0) {
    const at = random(all.length);
    all = all.slice(0, at) + noise() + all.slice(at + random(2));
  }
  return all;
}

function read(query) {
  let document;
  try {
    document = parse(query);
  } catch {
    return null;
  }
  const fragments = {};
  const operations = [];
  for (const one of document.definitions) {
    if (one.kind === "FragmentDefinition") fragments[one.name.value] ??= one.selectionSet;
    else if (one.kind === "OperationDefinition") operations.push(one);
  }
  const [fields, selects, seen] = [new Set(), new Set(), new Set()];
  const walk = (set, top) => {
    for (const one of set?.selections ?? []) {
      if (one.kind === "Field") {
        if (top) fields.add(one.name.value);
        selects.add(one.name.value);
        walk(one.selectionSet, false);
      } else if (one.kind === "InlineFragment") {
        walk(one.selectionSet, top);
      } else {
        const key = `${one.name.value} ${top}`;
        if (!seen.has(key)) {
          seen.add(key);
          walk(fragments[one.name.value], top);
        }
      }
    }
  };
  operations.forEach((one) => walk(one.selectionSet, true));
  const kinds = [...new Set(operations.map((one) => one.operation))];
  return { kinds: kinds.sort(), fields: [...fields].sort(), selects: [...selects].sort() };
}

for (let n = 0; n < 500; n++) {
  const query = text();
  console.log(JSON.stringify({ query, read: read(query) }));
}
