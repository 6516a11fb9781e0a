// Passkeys: what the page asks of an authenticator, and what it sends back. No secret passes through here.

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const keys = (list) => (list ?? []).map((key) => ({ ...key, id: bytes(key.id) }));

// What people are told when it does not work.
export const words = (error) => {
  switch (error.name) {
    case "NotAllowedError":
      return "The passkey was not used: cancelled, too late, or you were not verified.";
    case "InvalidStateError":
      return "This device has a passkey for this person already.";
    case "SecurityError":
      return "This browser does not allow passkeys on this page.";
    case "TypeError":
      return "The gate cannot be reached.";
    default:
      return error.message;
  }
};

// Sends JSON, gives JSON; throws what the gate says.
export async function post(path, body) {
  const csrf = document.querySelector('meta[name="exeat-csrf"]')?.content;
  const headers = { "content-type": "application/json", ...(csrf && { "exeat-csrf": csrf }) };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const parts = [answer.detail ?? `The gate answered ${response.status}.`, answer.hint];
  throw new Error(parts.filter(Boolean).join(": "));
}

// Has an enrolled key sign; `answer.publicKey` are the options from the gate.
export async function sign({ publicKey }) {
  const options = {
    ...publicKey,
    challenge: bytes(publicKey.challenge),
    allowCredentials: keys(publicKey.allowCredentials),
  };
  const key = await navigator.credentials.get({ publicKey: options });
  return {
    authenticator_data: text(key.response.authenticatorData),
    client_data: text(key.response.clientDataJSON),
    key: text(key.rawId),
    signature: text(key.response.signature),
  };
}

// Has a new key made.
export async function create({ publicKey }) {
  const options = {
    ...publicKey,
    challenge: bytes(publicKey.challenge),
    user: { ...publicKey.user, id: bytes(publicKey.user.id) },
    excludeCredentials: keys(publicKey.excludeCredentials),
  };
  const key = await navigator.credentials.create({ publicKey: options });
  return { attestation: text(key.response.attestationObject), client_data: text(key.response.clientDataJSON) };
}
