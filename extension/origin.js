// The origin of the console: the one thing this extension remembers.

export const USUAL = "http://localhost:8089";

// The origin in a text, or nothing: https anywhere, http on this machine only.
export function parse(text) {
  let url;
  try {
    url = new URL(text.trim());
  } catch {
    return null;
  }
  const here = url.protocol === "http:" && url.hostname === "localhost";
  const bare = url.pathname === "/" && !url.search && !url.hash && !url.username && !url.password;
  return bare && (here || url.protocol === "https:") ? url.origin : null;
}

// What a browser calls the permission to ask that origin. Patterns have no port.
export function pattern(origin) {
  const url = new URL(origin);
  return `${url.protocol}//${url.hostname}/*`;
}

export async function load() {
  const { origin } = await chrome.storage.local.get("origin");
  return parse(origin ?? "") ?? USUAL;
}

export function save(origin) {
  return chrome.storage.local.set({ origin });
}
