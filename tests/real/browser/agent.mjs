// The agent of these tests: curl, through the gate.

import { execFile } from "node:child_process";

// One request; waits at most so many seconds for a human. Gives its status, and the answer if that is JSON.
export function call({ proxy, roots }, url, { method, body, wait = 0 } = {}) {
  const args = [
    "--silent", "--show-error", "--max-time", "60", "--proxy", proxy, "--cacert", roots,
    "--header", `exeat-wait: ${wait}`, "--write-out", "\n%{http_code}",
    ...(body ? ["--json", JSON.stringify(body)] : []), ...(method ? ["--request", method] : []), url,
  ];
  return new Promise((resolve, reject) => {
    execFile("curl", args, (error, out, err) => {
      if (error) return reject(new Error(`curl: ${err}`));
      const at = out.lastIndexOf("\n");
      let answer = {};
      try { answer = JSON.parse(out.slice(0, at)); } catch { /* not JSON */ }
      resolve({ status: Number(out.slice(at + 1)), answer });
    });
  });
}
