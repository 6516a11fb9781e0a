// Lets this browser be told of new questions, and lets it go again.

const button = document.querySelector("[data-push]");
const csrf = document.querySelector('meta[name="exeat-csrf"]')?.content ?? "";
const worker = document.querySelector("[data-push-worker]")?.dataset.pushWorker;

const bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

async function call(path, options = {}) {
  const headers = { "exeat-csrf": csrf, "content-type": "application/json" };
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? "The console does not answer");
  }
  return answer.status === 204 ? null : answer.json();
}

async function idOf(subscription) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(subscription.endpoint));
  const hex = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `sha256:${hex}`;
}

function say(text) {
  const said = document.querySelector("[data-push-said]");
  if (said) said.textContent = text;
}

// Takes workers of other versions away; says whether one of them was told of questions.
async function forget(current) {
  let was = false;
  for (const other of await navigator.serviceWorker.getRegistrations()) {
    if ((other.active ?? other.waiting ?? other.installing)?.scriptURL === current) continue;
    was ||= (await other.pushManager.getSubscription()) !== null;
    await other.unregister();
  }
  return was;
}

async function subscribe(registration, key) {
  const wanted = { userVisibleOnly: true, applicationServerKey: bytes(key) };
  const made = await registration.pushManager.subscribe(wanted);
  await call("/api/v1/push", { method: "POST", body: JSON.stringify(made) });
  return made;
}

async function begin() {
  if (!worker || !("serviceWorker" in navigator) || !("PushManager" in window)) return;
  const { key } = await call("/api/v1/push");
  if (!key) return;
  const was = await forget(new URL(worker, location.href).href);
  const registration = await navigator.serviceWorker.register(worker);
  let subscription = was ? await subscribe(registration, key) : await registration.pushManager.getSubscription();
  const draw = () => {
    button.textContent = subscription ? "Stop notifying this browser" : "Notify this browser";
    button.hidden = false;
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      if (subscription) {
        const id = await idOf(subscription);
        await subscription.unsubscribe();
        subscription = null;
        await call(`/api/v1/push/${id}`, { method: "DELETE" });
        say("This browser is told nothing any more.");
      } else {
        subscription = await subscribe(registration, key);
        say("This browser is told of new questions.");
      }
    } catch (problem) {
      say(problem.message);
    }
    button.disabled = false;
    draw();
  });
  draw();
}

if (button) begin().catch((problem) => say(problem.message));
