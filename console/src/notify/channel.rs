//! Where notices go, and what is sent there. Secrets are named here and put in by whoever carries the letter.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use exeat_types::{Origin, Signer};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Notice, Subscription};

/// A place that notices go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// The desktop that this process belongs to.
    Desktop,
    /// A topic of an ntfy server.
    Ntfy {
        /// The server.
        origin: Origin,
        /// The topic.
        topic: String,
        /// Where its access token lies.
        token: Option<String>,
    },
    /// A webhook that understands what Slack does.
    Webhook {
        /// The server.
        origin: Origin,
        /// Where path and query lie, which are the secret of a webhook.
        path: String,
    },
    /// Browsers that have subscribed in the console.
    WebPush {
        /// The push services that are sent to.
        origins: Vec<Origin>,
        /// Whom a push service may write to, `mailto:` or `https:`.
        contact: Option<String>,
    },
    /// A program and its arguments.
    Command(Vec<String>),
}

/// A request that carries a notice.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where it goes.
    pub origin: Origin,
    /// Path and query, unless they are secret.
    pub target: String,
    /// Its header fields, without secrets of ours.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// A secret that it needs.
    pub secret: Option<SecretIn>,
}

/// Where in a letter a secret stands, by its reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretIn {
    /// As the bearer token.
    Token(String),
    /// As path and query.
    Target(String),
}

/// Why a notice was not delivered. SECURITY: it never repeats what a server said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It may not be sent there, or cannot be written.
    #[error("it cannot be sent there")]
    Unfit,
    /// The secret for it cannot be had.
    #[error("its secret cannot be had")]
    NoSecret,
    /// The server did not take it.
    #[error("the server answered {0}")]
    Refused(u16),
    /// There is nobody to take it at the moment.
    #[error("{0}")]
    Unreached(String),
    /// It may have been taken in part, so that it is not sent again.
    #[error("some of it was not taken: {0}")]
    InPart(Box<Self>),
    /// What belongs to it could not be kept or read.
    #[error("the vault could not be used")]
    NotKept,
}

impl Undelivered {
    /// Whether another try may go better.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Unreached(_) => true,
            Self::Refused(status) => *status == 429 || *status >= 500,
            Self::Unfit | Self::NoSecret | Self::InPart(_) | Self::NotKept => false,
        }
    }

    /// The same, not to be tried again.
    pub(super) fn for_good(self) -> Self {
        Self::InPart(Box::new(self))
    }
}

/// Carries letters, keeps what notices need. The binary implements it with custody, which alone opens secrets.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Sends a letter with its secret and tells the status.
    async fn post(&self, letter: Letter) -> Result<StatusCode, Undelivered>;
    /// The key that Web Push is signed with: P-256, made on first use and kept.
    async fn signer(&self) -> Result<Arc<dyn Signer>, Undelivered>;
    /// The browsers that have subscribed.
    async fn subscriptions(&self) -> Result<Vec<Subscription>, Undelivered>;
    /// Keeps them, sealed.
    async fn keep(&self, subscriptions: Vec<Subscription>) -> Result<(), Undelivered>;
}

impl Channel {
    /// The word for its kind.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Ntfy { .. } => "ntfy",
            Self::Webhook { .. } => "webhook",
            Self::WebPush { .. } => "web-push",
            Self::Command(_) => "command",
        }
    }

    /// Where requests for it go.
    pub fn origins(&self) -> &[Origin] {
        match self {
            Self::Ntfy { origin, .. } | Self::Webhook { origin, .. } => {
                std::slice::from_ref(origin)
            }
            Self::WebPush { origins, .. } => origins,
            Self::Desktop | Self::Command(_) => &[],
        }
    }

    /// What is posted, for the kinds that post the same to everybody.
    pub(super) fn letter(&self, notice: &Notice) -> Option<Letter> {
        match self {
            Self::Ntfy {
                origin,
                topic,
                token,
            } => ntfy(origin, topic, token.as_ref(), notice),
            Self::Webhook { origin, path } => Some(slack(origin, path, notice)),
            Self::Desktop | Self::WebPush { .. } | Self::Command(_) => None,
        }
    }
}

/// # Spec
/// ntfy's "Publishing": the body is the text, header fields say the rest.
fn ntfy(origin: &Origin, topic: &str, token: Option<&String>, notice: &Notice) -> Option<Letter> {
    let fields = [
        ("title", notice.title()),
        ("click", &notice.url),
        ("priority", "high"),
        ("tags", "lock"),
        ("content-type", "text/plain; charset=utf-8"),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).ok()?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Some(Letter {
        origin: origin.clone(),
        target: format!("/{topic}"),
        headers,
        body: Bytes::from(notice.text.clone()),
        secret: token.cloned().map(SecretIn::Token),
    })
}

/// # Spec
/// Slack's "Sending messages using incoming webhooks" and "Formatting text": `&`, `<` and `>` are written as entities.
fn slack(origin: &Origin, path: &str, notice: &Notice) -> Letter {
    let escaped = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        text.replace('>', "&gt;")
    };
    let line = format!("*{}*\n{}", notice.title(), escaped(&notice.text));
    let link = format!("<{}|Look at it in the console>", escaped(&notice.url));
    let body = json!({
        "text": format!("{}: {} {}", notice.title(), escaped(&notice.text), notice.url),
        "blocks": [{
            "type": "section",
            "text": {"type": "mrkdwn", "text": format!("{line}\n{link}")},
        }],
    });
    let json = HeaderValue::from_static("application/json");
    Letter {
        origin: origin.clone(),
        target: String::new(),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
        body: Bytes::from(body.to_string()),
        secret: Some(SecretIn::Target(path.to_owned())),
    }
}

/// Whether a server took it.
pub(super) fn accepted(status: StatusCode) -> Result<(), Undelivered> {
    if status.is_success() {
        Ok(())
    } else {
        Err(Undelivered::Refused(status.as_u16()))
    }
}
