//! What the API says and takes. Names and forms are public: a change of one is a change of the API.

use exeat_ledger::Progress;
use exeat_pipeline::{Given, Pending, Shown};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Problem details (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemShown {
    /// `about:blank`: the status says what kind of problem it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What happened.
    detail: String,
    /// What to do next.
    hint: Option<String>,
}

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ApprovalState {
    /// It waits for an answer.
    Pending,
    /// It was granted and may be used.
    Granted,
    /// Every use is used.
    Used,
    /// Somebody said no, or took the rest back.
    Denied,
    /// Too late.
    Expired,
}

impl ApprovalState {
    pub(super) const fn of(progress: Progress) -> Self {
        match progress {
            Progress::Pending => Self::Pending,
            Progress::Granted(_) => Self::Granted,
            Progress::Consumed => Self::Used,
            Progress::Refused => Self::Denied,
            Progress::Expired => Self::Expired,
        }
    }
}

/// A question to a human.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalShown {
    /// Its id.
    pub(super) id: String,
    /// Where it stands.
    pub(super) state: ApprovalState,
    /// How many equal calls may still use it.
    uses_left: u32,
    /// Who asks.
    agent: String,
    /// For which tool.
    tool: String,
    /// The tool's category.
    category: String,
    /// The HTTP method.
    method: String,
    /// Scheme, host and port it would go to.
    origin: String,
    /// How well the agent is cut off from other ways out.
    seal: String,
    /// The first call that asked.
    call: String,
    /// When it was asked.
    #[schema(format = DateTime)]
    asked: String,
    /// Until when it can be answered, or used.
    #[schema(format = DateTime)]
    expires: String,
    /// The digest of the canonical request, which every answer is bound to.
    digest: String,
    /// How many people have to say yes.
    approvers: u32,
    /// The rules that ask.
    rules: Vec<String>,
    /// Why, in words, where it is not a rule that asks.
    why: Vec<String>,
    /// The risk that was found: points, and what they are for.
    #[schema(value_type = Option<Object>)]
    risk: Option<serde_json::Value>,
    /// Who has answered.
    given: Vec<GivenShown>,
    /// How many calls wait for the answer at this moment.
    waiting: u32,
    /// The page of the console that answers it.
    url: String,
}

/// An answer.
#[derive(Serialize, ToSchema)]
struct GivenShown {
    /// Who gave it.
    user: String,
    /// `passkey` or `local`.
    by: String,
    /// What was granted; nothing if it was refused.
    extent: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    at: String,
}

impl From<&Given> for GivenShown {
    fn from(given: &Given) -> Self {
        Self {
            user: given.user.clone(),
            by: given.by.name().to_owned(),
            extent: given.extent.map(|extent| extent.to_string()),
            at: given.at.to_string(),
        }
    }
}

impl ApprovalShown {
    pub(super) fn of(pending: &Pending, url: String) -> Self {
        let uses_left = match pending.progress {
            Progress::Granted(uses) => uses,
            Progress::Pending | Progress::Consumed | Progress::Refused | Progress::Expired => 0,
        };
        let risk = pending.risk.as_ref();
        Self {
            id: pending.id.to_string(),
            state: ApprovalState::of(pending.progress),
            uses_left,
            agent: pending.agent.to_string(),
            tool: pending.tool.to_string(),
            category: pending.category.clone(),
            method: pending.method.clone(),
            origin: pending.origin.clone(),
            seal: pending.seal.name().to_owned(),
            call: pending.call.to_string(),
            asked: pending.asked.to_string(),
            expires: pending.expires.to_string(),
            digest: pending.digest.to_string(),
            approvers: pending.approve.approvers,
            rules: pending.rules.clone(),
            why: pending.why.clone(),
            risk: risk.and_then(|risk| serde_json::to_value(risk).ok()),
            given: pending.given.iter().map(GivenShown::from).collect(),
            waiting: pending.waiting,
            url,
        }
    }
}

/// A page of questions.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalPage {
    /// The questions: open ones first, newest first.
    pub(super) items: Vec<ApprovalShown>,
    /// What to pass as `after` for the next page; nothing on the last.
    pub(super) next: Option<String>,
}

/// A question with what will be sent.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalDetail {
    #[serde(flatten)]
    pub(super) approval: ApprovalShown,
    /// What will be sent, with placeholders where secrets go; nothing once it is no longer kept.
    pub(super) request: Option<RequestShown>,
}

/// A canonical request.
#[derive(Serialize, ToSchema)]
pub(super) struct RequestShown {
    method: String,
    origin: String,
    path: String,
    query: Option<String>,
    /// The header fields that the digest covers, sorted.
    headers: Vec<HeaderShown>,
    body: Option<BodyShown>,
    /// The credentials that will be used, by name.
    credentials: Vec<String>,
}

/// A header field.
#[derive(Serialize, ToSchema)]
struct HeaderShown {
    name: String,
    value: String,
}

/// A whole body.
#[derive(Serialize, ToSchema)]
struct BodyShown {
    /// `text` as it is, or in `base64` if it is no UTF-8.
    encoding: String,
    text: String,
}

impl From<&Shown> for RequestShown {
    fn from(shown: &Shown) -> Self {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let body = shown.body.as_ref().map(|body| {
            let (encoding, text) = match std::str::from_utf8(body) {
                Ok(text) => ("text", text.to_owned()),
                Err(_binary) => ("base64", BASE64_STANDARD.encode(body)),
            };
            BodyShown {
                encoding: encoding.to_owned(),
                text,
            }
        });
        let headers = shown.headers.iter().map(|(name, value)| HeaderShown {
            name: name.clone(),
            value: value.clone(),
        });
        Self {
            method: shown.method.clone(),
            origin: shown.origin.clone(),
            path: shown.path.clone(),
            query: shown.query.clone(),
            headers: headers.collect(),
            body,
            credentials: shown.credentials.clone(),
        }
    }
}

/// How far an approval is to go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtentWanted {
    /// `once`, `uses:5` or `until:2030-01-01T00:00:00.000Z`.
    #[schema(
        pattern = "^(once|uses:[1-9][0-9]{0,8}|until:20[2-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.[0-9]{3}Z)$"
    )]
    pub(super) extent: String,
}

/// What a passkey is to sign.
#[derive(Serialize, ToSchema)]
pub(super) struct ChallengeShown {
    /// What is granted, as canonical JSON (RFC 8785).
    pub(super) text: String,
    /// The challenge for the authenticator: the SHA-256 of `text` in base64url.
    pub(super) challenge: String,
    /// The relying party.
    pub(super) rp_id: String,
    /// Always `required`.
    pub(super) user_verification: String,
}

/// A signed yes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantSent {
    /// The extent that was asked a challenge for.
    #[schema(
        pattern = "^(once|uses:[1-9][0-9]{0,8}|until:20[2-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.[0-9]{3}Z)$"
    )]
    pub(super) extent: String,
    /// What the passkey answered.
    #[schema(value_type = AssertionSent)]
    pub(super) assertion: super::read::Object<AssertionSent>,
}

/// An assertion, every part in base64url.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AssertionSent {
    pub(super) authenticator_data: String,
    pub(super) client_data: String,
    /// The id of the key.
    pub(super) key: String,
    pub(super) signature: String,
}

impl From<AssertionSent> for exeat_ledger::Assertion {
    fn from(sent: AssertionSent) -> Self {
        Self {
            authenticator_data: sent.authenticator_data,
            client_data: sent.client_data,
            key: sent.key,
            signature: sent.signature,
        }
    }
}

/// What is to be done, in the words of `POST /api/v1/confirmations`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeedWanted {
    /// Such as `let the agent claude go on`.
    #[schema(min_length = 1, max_length = 256)]
    pub(super) deed: String,
}

/// What a passkey is to sign to confirm it.
#[derive(Serialize, ToSchema)]
pub(super) struct DeedShown {
    /// Comes back with what was signed.
    pub(super) ceremony: String,
    /// The options for the authenticator, with base64url in them.
    #[schema(value_type = Object)]
    pub(super) public_key: serde_json::Value,
}

/// A passkey's word for something that loosens what holds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmedSent {
    /// From `POST /api/v1/confirmations`.
    pub(super) ceremony: String,
    /// What the passkey answered.
    #[schema(value_type = AssertionSent)]
    pub(super) assertion: super::read::Object<AssertionSent>,
}

impl From<ConfirmedSent> for crate::sign_in::Confirmed {
    fn from(sent: ConfirmedSent) -> Self {
        Self {
            ceremony: sent.ceremony,
            assertion: sent.assertion.0.into(),
        }
    }
}

/// A passkey's word and nothing else.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WordSent {
    /// The word.
    #[schema(value_type = ConfirmedSent)]
    pub(super) confirmed: super::read::Object<ConfirmedSent>,
}

/// A no.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DenySent {
    /// Whether the agent is paused too.
    pub(super) pause_agent: bool,
}

/// Nothing to say, as an empty object.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}
