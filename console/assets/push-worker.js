// Shows what the gate has to say while no page is open: that a question waits. It answers none.

self.addEventListener("push", (event) => {
  const said = event.data?.json() ?? {};
  const shown = self.registration.showNotification(said.title ?? "Exeat", {
    body: said.text ?? "A question waits for you",
    tag: said.approval,
    requireInteraction: true,
    data: { url: said.url },
  });
  event.waitUntil(shown);
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const page = new URL(event.notification.data?.url ?? "/approvals", self.location.origin);
  // SECURITY: a message leads to this console and nowhere else.
  if (page.origin === self.location.origin) {
    event.waitUntil(self.clients.openWindow(page.href));
  }
});
