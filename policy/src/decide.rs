//! The question policy is asked, and its answer: the words. `engine.rs` finds the answer.

use std::{fmt, time::Duration};

use exeat_types::{AccountId, AgentId, Timestamp, limits};
use serde::{Serialize, Serializer};

use crate::{Arguments, Tool};

/// May this agent call this tool with these arguments?
pub struct Question<'a> {
    /// The account everything belongs to.
    pub account: &'a AccountId,
    /// Who asks.
    pub agent: &'a AgentId,
    /// What for.
    pub tool: &'a Tool,
    /// With which arguments.
    pub arguments: &'a Arguments,
    /// How a human approved this very call: `passkey` or `local`; nothing if nobody was asked.
    pub approval: Option<&'a str>,
}

/// What policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Go ahead.
    Allow,
    /// No.
    Deny,
    /// Yes, once a human has approved.
    Prompt,
}

impl Effect {
    /// The word used in policies and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Prompt => "prompt",
        }
    }
}

/// An answer, with the names of the rules that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The answer.
    pub effect: Effect,
    /// The rules that decided; none when nothing allowed the call.
    pub rules: Vec<String>,
    /// How to approve it, when the answer is [`Effect::Prompt`].
    pub approve: Option<Approve>,
    /// When the answer ends, if every rule that lets the call through ends some time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why the answer is no, when it is no.
    #[serde(skip)]
    pub silence: Silence,
}

/// Whether a no comes from somebody who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// No rule speaks of the call at all: none allowed it, none forbade it, and nothing failed.
    Complete,
    /// Some rule spoke, or the question could not be answered.
    Broken,
}

impl Decision {
    pub(crate) const fn deny(rules: Vec<String>) -> Self {
        Self {
            effect: Effect::Deny,
            rules,
            approve: None,
            until: None,
            silence: Silence::Broken,
        }
    }

    /// The answer at a moment: what has ended lets nothing through any more.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        match self.until {
            Some(until) if now >= until => Self::deny(self.rules),
            _ => self,
        }
    }
}

/// What an approval has to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Approve {
    /// By what means.
    pub by: Approver,
    /// For how long it holds.
    pub remember: Remember,
    /// How many people have to approve.
    pub approvers: u32,
    /// How many different keys have to approve.
    pub devices: u32,
    /// How long the question stays open; [`limits::APPROVAL_TIME`] when nobody says.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_seconds")]
    pub within: Option<Duration>,
}

impl Approve {
    /// A passkey, for this one call.
    pub const STRICTEST: Self = Self {
        by: Approver::Passkey,
        remember: Remember::Once,
        approvers: 1,
        devices: 1,
        within: None,
    };

    /// What satisfies both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            by: self.by.max(other.by),
            remember: self.remember.and(other.remember),
            approvers: self.approvers.max(other.approvers),
            devices: self.devices.max(other.devices),
            within: match (self.within, other.within) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, other) => one.or(other),
            },
        }
    }

    /// Whether who satisfies this satisfies the other one too.
    pub fn is_at_least(self, other: Self) -> bool {
        let open = |approve: Self| Self {
            within: Some(approve.open_for()),
            ..approve
        };
        open(self).and(open(other)) == open(self)
    }

    /// How long the question stays open; never longer than any question does.
    pub fn open_for(self) -> Duration {
        let within = self.within.unwrap_or(limits::APPROVAL_TIME);
        within.min(limits::APPROVAL_TIME)
    }
}

fn in_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(&format_args!("{}s", time.as_secs())),
        None => serializer.serialize_none(),
    }
}

/// By what means a human approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approver {
    /// On the command line of this machine.
    Local,
    /// With a passkey.
    Passkey,
}

impl Approver {
    /// The word used in policies and in [`Question::approval`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Passkey => "passkey",
        }
    }
}

/// How long an approval holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// For one call.
    Once,
    /// For so many equal calls.
    Uses(u32),
    /// For equal calls within this time.
    Until(Duration),
}

impl fmt::Display for Remember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Uses(count) => write!(f, "uses:{count}"),
            Self::Until(time) => write!(f, "until:{}s", time.as_secs()),
        }
    }
}

impl Serialize for Remember {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Remember {
    /// The shorter of two; once, if they cannot be compared.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Uses(a), Self::Uses(b)) => Self::Uses(a.min(b)),
            (Self::Until(a), Self::Until(b)) => Self::Until(a.min(b)),
            _ => Self::Once,
        }
    }
}
