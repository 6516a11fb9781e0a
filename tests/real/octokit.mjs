// What an agent does with GitHub's official SDK, unmodified: each step named on the command line is tried, and its
// outcome printed as a line of JSON.
//
// node octokit.mjs --real DIR read create create-badly delete-repository ...
//
// The token comes from GITHUB_TOKEN, the address from GITHUB_API_URL if that is set: both as such programs usually do.

import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: options, positionals: steps } = parseArgs({
  allowPositionals: true,
  options: { real: { type: "string" } },
});

const entry = path.join(options.real, "node/node_modules/@octokit/rest/dist-src/index.js");
const { Octokit } = await import(pathToFileURL(entry));
const octokit = new Octokit({
  auth: process.env.GITHUB_TOKEN,
  baseUrl: process.env.GITHUB_API_URL ?? "https://api.github.com",
  log: { debug() {}, info() {}, warn() {}, error() {} },
});

// The data alone comes back; an answer that is an error is thrown like any other.
async function graphql(query, variables) {
  return { status: 200, headers: {}, data: await octokit.graphql(query, variables) };
}

const repository = { owner: "octo", repo: "hello" };
const known = {
  "read": () => octokit.rest.repos.get(repository),
  "read-echo": () => octokit.rest.repos.get({ ...repository, headers: { "x-echo": "authorization" } }),
  "list": () => octokit.rest.issues.listForRepo({ ...repository, state: "open", per_page: 5 }),
  "content": () => octokit.rest.repos.getContent({ ...repository, path: "docs/README.md" }),
  "create": () => octokit.rest.issues.create({ ...repository, title: "A title", labels: ["bug"] }),
  "create-badly": () => octokit.rest.issues.create({ ...repository, labels: "bug" }),
  "leak-title": () => octokit.rest.issues.create({ ...repository, title: `token: ${process.env.GITHUB_TOKEN}` }),
  "leak-gist": () =>
    octokit.rest.gists.create({ files: { "a.txt": { content: `token: ${process.env.GITHUB_TOKEN}` } } }),
  "graphql-read": () => graphql("query($n: Int!) { viewer { login } user: viewer { issues(first: $n) { totalCount } } }", { n: 5 }),
  "graphql-comment": () => graphql("mutation($i: AddCommentInput!) { addComment(input: $i) { clientMutationId } }", { i: { body: "hello", subjectId: "I_1" } }),
  "graphql-delete": () => graphql("mutation { deleteIssue(input: { issueId: \"I_1\" }) { clientMutationId } }"),
  "graphql-alias": () => graphql("mutation { ...F } fragment F on Mutation { addComment: deleteIssue(input: {}) { clientMutationId } }"),
  "graphql-rider": () => graphql("mutation { addComment(input: {}) { clientMutationId } deleteIssue(input: {}) { clientMutationId } }"),
  "delete-repository": () => octokit.rest.repos.delete(repository),
};

// The SDK leaves what is not JSON by its media type as text. (Without a charset it would leave it as bytes.)
function readable(body) {
  if (typeof body !== "string") return body ?? null;
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

for (const step of steps) {
  const outcome = { step };
  try {
    const response = await known[step]();
    outcome.status = response.status;
    outcome.headers = response.headers;
    outcome.body = response.data;
  } catch (error) {
    outcome.status = error.status ?? null;
    outcome.error = error.message;
    outcome.body = readable(error.response?.data);
    outcome.headers = error.response?.headers ?? null;
  }
  console.log(JSON.stringify(outcome));
}
