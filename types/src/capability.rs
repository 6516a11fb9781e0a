//! What an agent may be granted for a time, as it asks for it: kinds, words for people, and a digest of a whole set.
//!
//! A capability says what is wanted, not how it is enforced: a policy turns it into a rule, or refuses where it cannot.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Digest, Malformed, canonical_json};

/// The greatest number in a capability, as canonical JSON writes no greater one exactly.
const NUMBER_MAX: u64 = 1 << 53;
/// Longest name or value in a capability, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Most capabilities that are asked for at a time, and most filters of one.
const MANY: usize = 16;

/// One thing that may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Capability {
    /// Look at something.
    Read {
        /// The tools: a name, or parts of one and `.*`.
        resource: String,
        /// Arguments that have to have these values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        filter: BTreeMap<String, Scalar>,
    },
    /// Change something, and look at it.
    Write {
        /// The tools.
        resource: String,
        /// What it is restricted to.
        #[serde(default, skip_serializing_if = "Conditions::is_empty")]
        conditions: Conditions,
    },
    /// Move something of value.
    Transact {
        /// The tools.
        resource: String,
        /// The most that one call may move: the greatest value of the argument `amount`.
        max_value: u64,
        /// The value that the argument `currency` has to have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<String>,
    },
    /// Destroy something.
    Delete {
        /// The tools.
        resource: String,
        /// Arguments that have to have these values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        filter: BTreeMap<String, Scalar>,
    },
    /// Call the tool `namespace.name` with these arguments.
    Custom {
        /// What its name begins with.
        namespace: String,
        /// The rest of its name.
        name: String,
        /// Arguments that have to have these values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, Scalar>,
    },
}

/// What a write is restricted to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Only new things: no call that changes what is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub append_only: bool,
    /// Arguments that have to have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Scalar>,
    /// The most things that one call may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_items_per_request: Option<u32>,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A value that an argument has to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A truth value.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Capability {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Transact { .. } => "transact",
            Self::Delete { .. } => "delete",
            Self::Custom { .. } => "custom",
        }
    }

    /// The tools that it is about: a name, or parts of one and `.*`.
    pub fn resource(&self) -> String {
        match self {
            Self::Read { resource, .. }
            | Self::Write { resource, .. }
            | Self::Transact { resource, .. }
            | Self::Delete { resource, .. } => resource.clone(),
            Self::Custom {
                namespace, name, ..
            } => format!("{namespace}.{name}"),
        }
    }

    /// The arguments that have to have some value.
    pub const fn filter(&self) -> Option<&BTreeMap<String, Scalar>> {
        match self {
            Self::Read { filter, .. } | Self::Delete { filter, .. } => Some(filter),
            Self::Write { conditions, .. } => Some(&conditions.filter),
            Self::Custom { params, .. } => Some(params),
            Self::Transact { .. } => None,
        }
    }

    /// Whether a person has to say twice that it is meant. What a name of somebody's own stands for may be grave too.
    pub const fn is_grave(&self) -> bool {
        matches!(
            self,
            Self::Transact { .. } | Self::Delete { .. } | Self::Custom { .. }
        )
    }

    /// Whether everything that this allows is allowed by the other one too, as far as their words say.
    pub fn is_within(&self, other: &Self) -> bool {
        if !covers(&other.resource(), &self.resource()) {
            return false;
        }
        let narrower = |mine: &BTreeMap<String, Scalar>, theirs: &BTreeMap<String, Scalar>| {
            theirs
                .iter()
                .all(|(name, value)| mine.get(name) == Some(value))
        };
        let none = BTreeMap::new();
        let filters = narrower(
            self.filter().unwrap_or(&none),
            other.filter().unwrap_or(&none),
        );
        match (self, other) {
            (
                Self::Write {
                    conditions: mine, ..
                },
                Self::Write {
                    conditions: theirs, ..
                },
            ) => {
                let items = theirs
                    .max_items_per_request
                    .is_none_or(|most| mine.max_items_per_request.is_some_and(|mine| mine <= most));
                filters && items && (mine.append_only || !theirs.append_only)
            }
            (Self::Read { .. }, Self::Write { .. }) => filters,
            (
                Self::Transact {
                    max_value: mine,
                    currency,
                    ..
                },
                Self::Transact {
                    max_value: most,
                    currency: theirs,
                    ..
                },
            ) => {
                mine <= most
                    && theirs
                        .as_ref()
                        .is_none_or(|theirs| currency.as_ref() == Some(theirs))
            }
            _ => filters && self.kind() == other.kind(),
        }
    }

    /// What it means, as the rest of a sentence that begins with `may`.
    pub fn words(&self) -> String {
        let resource = self.resource();
        let filter = self.filter().map(filter_words).unwrap_or_default();
        match self {
            Self::Read { .. } => format!("read with `{resource}`{filter}"),
            Self::Write { conditions, .. } => {
                let only = if conditions.append_only {
                    ", adding only"
                } else {
                    ""
                };
                let most = conditions
                    .max_items_per_request
                    .map(|most| format!(", at most {most} things in a call"))
                    .unwrap_or_default();
                format!("read and change with `{resource}`{filter}{only}{most}")
            }
            Self::Transact {
                max_value,
                currency,
                ..
            } => {
                let currency = currency.as_deref().unwrap_or("of any currency");
                format!("move up to {max_value} {currency} in each call of `{resource}`")
            }
            Self::Delete { .. } => format!("destroy with `{resource}`{filter}"),
            Self::Custom { .. } => format!("call `{resource}`{filter}"),
        }
    }

    /// Checks the texts in it.
    ///
    /// # Errors
    /// When one is empty, long, or more than one line; when a number means nothing.
    pub fn check(&self) -> Result<(), Malformed> {
        let wrong = |problem: &str| Malformed::new("capability", problem);
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
        };
        if !plain(&self.resource()) {
            return Err(wrong("expected a resource, namespace and name on one line"));
        }
        if let Self::Custom {
            namespace, name, ..
        } = self
            && (namespace.is_empty() || name.is_empty() || self.resource().contains('*'))
        {
            return Err(wrong("expected the name of one tool"));
        }
        if let Self::Transact {
            max_value,
            currency,
            ..
        } = self
            && (!(1..=NUMBER_MAX).contains(max_value)
                || currency.as_ref().is_some_and(|currency| !plain(currency)))
        {
            return Err(wrong("expected a greatest value above 0, and a currency"));
        }
        let none = BTreeMap::new();
        let filter = self.filter().unwrap_or(&none);
        let texts_ok = filter.iter().all(|(name, value)| {
            plain(name)
                && match value {
                    Scalar::Text(text) => text.len() <= TEXT_BYTES_MAX,
                    Scalar::Number(number) => number.unsigned_abs() <= NUMBER_MAX,
                    Scalar::Flag(_) => true,
                }
        });
        if filter.len() > MANY || !texts_ok {
            return Err(wrong("expected at most 16 filters of at most 200 bytes"));
        }
        Ok(())
    }
}

fn filter_words(filter: &BTreeMap<String, Scalar>) -> String {
    if filter.is_empty() {
        return String::new();
    }
    let one = |(name, value): (&String, &Scalar)| format!("`{name}` is {value}");
    let all: Vec<String> = filter.iter().map(one).collect();
    format!(" where {}", all.join(" and "))
}

/// Whether a pattern of tools holds everything that another one does: `a.*` holds `a.b` and `a.b.*`, and `*` holds all.
pub fn covers(pattern: &str, other: &str) -> bool {
    if pattern == "*" || pattern == other {
        return true;
    }
    let prefix = pattern
        .strip_suffix('*')
        .filter(|prefix| prefix.ends_with('.'));
    prefix.is_some_and(|prefix| other.starts_with(prefix))
}

/// The digest of a set: the same in whatever order it is written.
///
/// # Errors
/// When there is nothing in it, too much, or something malformed.
pub fn digest_of(capabilities: &[Capability]) -> Result<Digest, Malformed> {
    if capabilities.is_empty() || capabilities.len() > MANY {
        let problem = format!("expected 1 to {MANY} of them");
        return Err(Malformed::new("capabilities", problem));
    }
    let mut texts = Vec::with_capacity(capabilities.len());
    for capability in capabilities {
        capability.check()?;
        let text = canonical_json(capability)?;
        texts.push(String::from_utf8_lossy(&text).into_owned());
    }
    texts.sort_unstable();
    texts.dedup();
    Ok(Digest::of(format!("[{}]", texts.join(",")).as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: serde_json::Value) -> Capability {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_kind_is_read_and_told_in_words() {
        for (value, words) in [
            (
                json!({"type": "read", "resource": "github.*"}),
                "read with `github.*`",
            ),
            (
                json!({"type": "write", "resource": "github.issues.create", "conditions": {"append_only": true, "filter": {"owner": "acme"}}}),
                "read and change with `github.issues.create` where `owner` is \"acme\", adding only",
            ),
            (
                json!({"type": "transact", "resource": "bank.pay", "max_value": 500, "currency": "USD"}),
                "move up to 500 USD in each call of `bank.pay`",
            ),
            (
                json!({"type": "delete", "resource": "files.*", "filter": {"draft": true}}),
                "destroy with `files.*` where `draft` is true",
            ),
            (
                json!({"type": "custom", "namespace": "ci", "name": "run", "params": {"job": 7}}),
                "call `ci.run` where `job` is 7",
            ),
        ] {
            let capability = of(value.clone());
            assert_eq!(capability.words(), words);
            assert_eq!(serde_json::to_value(&capability).unwrap(), value);
            capability.check().unwrap();
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for value in [
            json!({"type": "read", "resource": ""}),
            json!({"type": "transact", "resource": "a.b", "max_value": 0}),
            json!({"type": "custom", "namespace": "", "name": "b"}),
            json!({"type": "custom", "namespace": "a", "name": "*"}),
            json!({"type": "read", "resource": "a\nb"}),
        ] {
            of(value).check().unwrap_err();
        }
        let unknown = json!({"type": "read", "resource": "a", "forever": true});
        assert!(serde_json::from_value::<Capability>(unknown).is_err());
    }

    #[test]
    fn the_digest_of_a_set_does_not_depend_on_its_order() {
        let read = of(json!({"type": "read", "resource": "a.*"}));
        let delete = of(json!({"type": "delete", "resource": "a.*"}));
        let one = digest_of(&[read.clone(), delete.clone()]).unwrap();
        assert_eq!(
            one,
            digest_of(&[delete.clone(), read.clone(), read.clone()]).unwrap()
        );
        assert_ne!(one, digest_of(&[read]).unwrap());
        assert!(digest_of(&[]).is_err());
        assert!(digest_of(&vec![delete; 17]).is_err());
    }

    #[test]
    fn a_subset_is_known_as_one() {
        let all = of(json!({"type": "write", "resource": "a.*"}));
        let less =
            of(json!({"type": "write", "resource": "a.b", "conditions": {"filter": {"x": 1}}}));
        let read = of(json!({"type": "read", "resource": "a.b.*"}));
        let much = of(json!({"type": "transact", "resource": "a.b", "max_value": 9}));
        let little =
            of(json!({"type": "transact", "resource": "a.b", "max_value": 5, "currency": "EUR"}));
        assert!(less.is_within(&all) && read.is_within(&all) && little.is_within(&much));
        assert!(!all.is_within(&less) && !all.is_within(&read) && !much.is_within(&little));
        assert!(!of(json!({"type": "delete", "resource": "a.b"})).is_within(&all));
        assert!(!covers("ab.*", "abc") && !covers("a*", "ab") && covers("*", "a.b"));
    }
}
