//! Tells people that a question waits: on the desktop, by ntfy, Web Push or a webhook, or with a program of theirs.
//!
//! INVARIANT: a notice names who asks, for which tool, and the page of the console that answers it; it carries no argument of
//! the call and no secret, and nothing that comes back from where it went approves anything. A call never waits for one.

mod channel;
mod command;
mod desktop;
mod push;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use exeat_pipeline::{Pending, RequestShown};
use exeat_types::{Capability, Clock, Signer};
use serde::Serialize;
use tokio::sync::{
    Notify, OnceCell, OwnedSemaphorePermit, Semaphore,
    broadcast::{Receiver, error::RecvError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use channel::{Carrier, Channel, Letter, SecretIn, Undelivered};
pub use push::{Subscription, Unusable};

use crate::PublicOrigin;

/// Deliveries of one channel that go on at a time; a notice that finds none free is dropped, and the log says so.
const DELIVERIES_MAX: usize = 16;
/// Waits before another try: three tries in all.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// Browsers that are told.
const SUBSCRIPTIONS_MAX: usize = 32;

/// A question, as much of it as may leave this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The agent that asks.
    pub agent: String,
    /// The approval.
    pub approval: String,
    /// Until when it can be answered.
    pub expires: String,
    /// One line for people.
    pub text: String,
    /// The tool it asks for.
    pub tool: String,
    /// The page that answers it.
    pub url: String,
}

impl Notice {
    /// The notice of a question.
    pub fn of(question: &Pending, console: &PublicOrigin) -> Self {
        let (agent, tool) = (question.agent.to_string(), question.tool.to_string());
        Self {
            text: format!("{agent} asks for approval of {tool}"),
            agent,
            approval: question.id.to_string(),
            expires: question.expires.to_string(),
            tool,
            url: console.url(&format!("/approvals/{}", question.id)),
        }
    }

    /// The notice of a request for more than the rules give.
    pub fn of_request(request: &RequestShown, console: &PublicOrigin) -> Self {
        let agent = request.agent.to_string();
        let mut tools = request.capabilities.iter().map(Capability::resource);
        let tool = tools.next().unwrap_or_default();
        let more = match tools.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Self {
            text: format!("{agent} asks to be allowed {tool}{more} for a time"),
            agent,
            approval: request.id.to_string(),
            expires: request.expires.to_string(),
            tool,
            url: console.url("/requests"),
        }
    }

    /// What stands above the line.
    pub const fn title(&self) -> &'static str {
        "Approval needed"
    }
}

/// A channel, and the deliveries that it has room for: one that hangs takes no room from the others.
struct Way {
    channel: Arc<Channel>,
    free: Arc<Semaphore>,
}

/// What people are told of.
pub struct News {
    /// Questions.
    pub questions: Receiver<Arc<Pending>>,
    /// Capability requests.
    pub requests: Receiver<Arc<RequestShown>>,
}

/// Sends notices of new questions to every channel.
pub struct Notifier {
    channels: ArcSwap<Vec<Way>>,
    changed: Notify,
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    console: PublicOrigin,
    /// What Web Push is signed with.
    signer: OnceCell<Arc<dyn Signer>>,
    tasks: TaskTracker,
    subscribing: tokio::sync::Mutex<()>,
}

impl Notifier {
    /// A notifier without channels.
    pub fn new(
        carrier: Arc<dyn Carrier>,
        clock: Arc<dyn Clock>,
        console: PublicOrigin,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self {
            channels: ArcSwap::default(),
            changed: Notify::new(),
            carrier,
            clock,
            console,
            signer: OnceCell::new(),
            tasks,
            subscribing: tokio::sync::Mutex::default(),
        })
    }

    /// Says where notices go from here on.
    pub fn use_channels(&self, channels: Vec<Channel>) {
        let way = |channel| Way {
            channel: Arc::new(channel),
            free: Arc::new(Semaphore::new(DELIVERIES_MAX)),
        };
        let ways = channels.into_iter().map(way).collect();
        self.channels.store(Arc::new(ways));
        self.changed.notify_one();
    }

    /// Sends a notice for each question and each request, until told to stop; makes what channels need as they change.
    pub async fn follow(self: Arc<Self>, mut news: News, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.changed.notified() => {
                    self.prepare().await;
                    continue;
                }
                next = news.questions.recv() => next.map(|question| Notice::of(&question, &self.console)),
                next = news.requests.recv() => next.map(|request| Notice::of_request(&request, &self.console)),
            };
            match next {
                Ok(notice) => self.tell(&notice, &stop),
                Err(RecvError::Lagged(count)) => {
                    tracing::warn!(count, "questions came too fast; no notice went out of some");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Has the key of Web Push made if it is wanted and not there yet, so that no page has to.
    async fn prepare(&self) {
        if self.push_origins().is_some()
            && let Err(problem) = self.signer().await
        {
            tracing::warn!(%problem, "the key for Web Push cannot be had");
        }
    }

    /// The key of Web Push: made once, by one at a time.
    async fn signer(&self) -> Result<&Arc<dyn Signer>, Undelivered> {
        self.signer.get_or_try_init(|| self.carrier.signer()).await
    }

    /// Sends one notice to every channel. Nobody waits for it.
    pub fn tell(self: &Arc<Self>, notice: &Notice, stop: &CancellationToken) {
        for Way { channel, free } in self.channels.load().iter() {
            let Ok(permit) = Arc::clone(free).try_acquire_owned() else {
                tracing::warn!(
                    channel = channel.word(),
                    "a notice was dropped, as too many are on their way"
                );
                continue;
            };
            let (this, channel) = (Arc::clone(self), Arc::clone(channel));
            let (notice, stop) = (notice.clone(), stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = this.deliver(&channel, &notice, permit) => {}
                }
            });
        }
    }

    async fn deliver(&self, channel: &Channel, notice: &Notice, permit: OwnedSemaphorePermit) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let problem = match self.send(channel, notice).await {
                Ok(()) => break,
                Err(problem) => problem,
            };
            let pause = pauses.next().filter(|_| problem.may_pass());
            let Some(pause) = pause else {
                tracing::warn!(channel = channel.word(), %problem, "a notice was not delivered");
                break;
            };
            tracing::debug!(channel = channel.word(), %problem, "a notice is tried again");
            tokio::time::sleep(pause).await;
        }
        drop(permit);
    }

    async fn send(&self, channel: &Channel, notice: &Notice) -> Result<(), Undelivered> {
        match channel {
            Channel::Desktop => desktop::show(notice).await,
            Channel::Command(argv) => command::run(argv, notice).await,
            Channel::Ntfy { .. } | Channel::Webhook { .. } => {
                let letter = channel.letter(notice);
                let status = self.carrier.post(letter.ok_or(Undelivered::Unfit)?).await?;
                channel::accepted(status)
            }
            Channel::WebPush { origins, contact } => {
                self.push_to_all(notice, origins, contact.as_deref()).await
            }
        }
    }

    async fn push_to_all(
        &self,
        notice: &Notice,
        origins: &[exeat_types::Origin],
        contact: Option<&str>,
    ) -> Result<(), Undelivered> {
        let subscriptions = self.carrier.subscriptions().await?;
        let allowed = subscriptions
            .iter()
            .filter(|one| one.is_at(origins))
            .collect::<Vec<_>>();
        if allowed.is_empty() {
            return Ok(());
        }
        let signer = self.signer().await?;
        let payload = serde_json::to_vec(&serde_json::json!({
            "title": notice.title(),
            "text": notice.text,
            "url": notice.url,
            "approval": notice.approval,
        }));
        let payload = payload.map_err(|_cause| Undelivered::Unfit)?;
        let mut failed = None;
        for subscription in allowed {
            let claims = push::Claims {
                contact,
                now: self.clock.now(),
            };
            let letter =
                push::letter(subscription, &payload, &notice.approval, &**signer, &claims)?;
            match self.carrier.post(letter).await {
                Ok(status) if status == 404 || status == 410 => {
                    // RFC 8030 section 7.3: the browser has unsubscribed, or its user has.
                    self.forget(&subscription.id()).await?;
                }
                Ok(status) => failed = channel::accepted(status).err().or(failed),
                Err(problem) => failed = Some(problem),
            }
        }
        // One that failed does not have the others told twice.
        match failed {
            Some(problem) => Err(problem.for_good()),
            None => Ok(()),
        }
    }

    /// The public key that browsers are told to take messages from, as they want it; nothing without such a channel. It
    /// makes none: [`Self::follow`] does.
    ///
    /// # Errors
    /// When the key is not there.
    pub fn push_key(&self) -> Result<Option<String>, Undelivered> {
        if self.push_origins().is_none() {
            return Ok(None);
        }
        let signer = self.signer.get().ok_or(Undelivered::NotKept)?;
        Ok(Some(push::public(&**signer)))
    }

    /// Tells this browser too from here on.
    ///
    /// # Errors
    /// When there is no such channel, the push service is not one that the settings name, there are too many already, or it
    /// cannot be kept.
    pub async fn subscribe(&self, subscription: Subscription) -> Result<(), Unusable> {
        let origins = self.push_origins().ok_or(Unusable::NoChannel)?;
        if !subscription.is_at(&origins) {
            return Err(Unusable::Elsewhere);
        }
        let _one = self.subscribing.lock().await;
        let mut kept = self.carrier.subscriptions().await?;
        kept.retain(|one| one.id() != subscription.id());
        if kept.len() >= SUBSCRIPTIONS_MAX {
            return Err(Unusable::TooMany);
        }
        kept.push(subscription);
        Ok(self.carrier.keep(kept).await?)
    }

    /// Tells a browser nothing any more; says whether it was told before.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub async fn forget(&self, id: &str) -> Result<bool, Undelivered> {
        let _one = self.subscribing.lock().await;
        let mut kept = self.carrier.subscriptions().await?;
        let before = kept.len();
        kept.retain(|one| one.id() != id);
        if kept.len() == before {
            return Ok(false);
        }
        self.carrier.keep(kept).await.map(|()| true)
    }

    fn push_origins(&self) -> Option<Vec<exeat_types::Origin>> {
        self.channels
            .load()
            .iter()
            .find_map(|way| match &*way.channel {
                Channel::WebPush { origins, .. } => Some(origins.clone()),
                _ => None,
            })
    }
}
