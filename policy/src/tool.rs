//! What a declared tool is. Built only by `declare.rs`, so a held tool has passed every check.

use std::{collections::BTreeMap, fmt, ops::Range, str::FromStr, sync::Arc};

use exeat_types::{BasicPart, CredentialId, Malformed, Origin, ToolName};
use http::{HeaderName, Method};
use jsonschema::Validator;
use serde_json::Value;

use crate::{
    Cost, LlmRules, Local, ResponseRules,
    graphql::{Detail, Selection},
    wire::Field,
};

/// One thing an agent may ask for: a method and a path template at one origin, with what it takes.
pub struct Tool {
    /// The full name, such as `github.issues.create`.
    pub name: ToolName,
    /// What calling it does to the world.
    pub category: Category,
    /// One sentence for people and agents.
    pub description: String,
    /// The HTTP method.
    pub method: Method,
    /// Where it is called.
    pub origin: Origin,
    /// The path with its parameters, such as `/repos/{owner}/{repo}`.
    pub template: String,
    /// Path parameters whose value may hold slashes, written as `%2F`.
    pub encoded_slash: Vec<String>,
    /// The credential that a call is sent with.
    pub credential: Option<CredentialId>,
    /// What is tried in turn when that one, and each before it, is absent.
    pub otherwise: Vec<Strategy>,
    /// Where a placeholder may stand, besides the place that the credential's kind has anyway.
    pub slots: Vec<Slot>,
    /// What is done to responses.
    pub response: ResponseRules,
    /// Whether `Range` may be forwarded on a call with a credential.
    pub ranges: bool,
    /// Whether the body has to be read before the decision.
    pub body_need: BodyNeed,
    /// What the capture beside the receipt keeps.
    pub record: Record,
    /// A protocol inside the body that Exeat reads.
    pub protocol: Protocol,
    /// How a request to a language model is judged.
    pub llm: Option<LlmRules>,
    pub(crate) graphql: Option<Selection>,
    /// What runs here, when the tool is a program and not a request.
    pub local: Option<Local>,
    /// What a call costs, if that is known before.
    pub cost: Option<Cost>,
    pub(crate) input: Input,
}

impl Tool {
    /// The JSON Schema of all arguments together: one property each for `path`, `query`, `header` and `body`.
    pub fn input_schema(&self) -> &Value {
        &self.input.schema
    }

    /// Every credential that a call may be sent with, in order.
    pub fn credentials(&self) -> impl Iterator<Item = &CredentialId> {
        let others = self.otherwise.iter().filter_map(|it| match it {
            Strategy::Credential(id) => Some(id),
            Strategy::Payment => None,
        });
        self.credential.iter().chain(others)
    }

    /// Where the value of a parameter stands in a path that this tool takes.
    pub fn part_of_path(&self, parameter: &str, path: &str) -> Option<Range<usize>> {
        let wanted = format!("{{{parameter}}}");
        let (mut start, mut segments) = (0_usize, path.split('/'));
        for declared in self.template.split('/') {
            let segment = segments.next()?;
            if let Some((before, after)) = declared.split_once(&wanted) {
                let value = segment.strip_prefix(before)?.strip_suffix(after)?;
                let from = start.checked_add(before.len())?;
                return Some(from..from.checked_add(value.len())?);
            }
            start = start.checked_add(segment.len())?.checked_add(1)?;
        }
        None
    }

    /// The names by which rules read the arguments, as in `context.args.<name>`.
    pub fn argument_names(&self) -> impl Iterator<Item = &str> {
        self.input.names.keys().map(String::as_str)
    }

    /// Where it leads.
    pub(crate) fn place(&self) -> (&Method, &Origin, &str) {
        (&self.method, &self.origin, &self.template)
    }

    /// Whether a header field is one of its arguments.
    pub fn takes_header(&self, name: &str) -> bool {
        let mut fields = self.input.header.iter();
        fields.any(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// What a tool takes, ready to check a request against.
pub(crate) struct Input {
    /// One object schema over all sections, with the definitions they use.
    pub(crate) schema: Value,
    pub(crate) validator: Validator,
    pub(crate) path: Vec<Field>,
    pub(crate) query: Fields,
    pub(crate) header: Vec<Field>,
    pub(crate) body: BodyRule,
    /// The flat names that rules use, and what each stands for.
    pub(crate) names: BTreeMap<String, Place>,
}

impl Input {
    /// Whether the tool says anything about a section.
    pub(crate) fn declares(&self, section: &str) -> bool {
        self.schema
            .get("properties")
            .is_some_and(|sections| sections.get(section).is_some())
    }
}

/// The parameters of a form, and whether others are let through.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) declared: Vec<Field>,
    pub(crate) others: Others,
}

/// What happens to parameters that nobody declared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Others {
    /// They are refused.
    #[default]
    Refused,
    /// They are read as strings, and the schema judges them.
    Strings,
}

/// What body a tool takes.
pub(crate) enum BodyRule {
    /// None at all.
    Absent,
    /// JSON that fits the schema.
    Json(Presence),
    /// An HTML form that fits the schema.
    Form(Presence, Fields),
    /// One or the other, by its content type; both are judged by the same schema.
    JsonOrForm(Presence, Fields),
    /// `multipart/form-data`, not looked into.
    Multipart,
    /// Any bytes, not looked into.
    Binary,
    /// A git push.
    GitPush,
    /// GraphQL, as JSON.
    GraphQl(Detail),
    /// A commit or a tag that is to be signed.
    GitObject,
}

/// Whether a body may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It has to be there.
    Needed,
    /// Without one, the empty object is checked instead.
    Optional,
}

/// Where an argument stands in [`crate::Arguments::value`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) section: &'static str,
    /// One member of the section, or all of it.
    pub(crate) member: Option<String>,
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} {}{})",
            self.name, self.method, self.origin, self.template
        )
    }
}

/// What calling a tool does: `read`, `write`, `delete`, or an operator's own word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Category(Arc<str>);

impl Category {
    /// The categories that always exist.
    pub const KNOWN: [&'static str; 3] = ["read", "write", "delete"];

    /// Checks a word.
    ///
    /// # Errors
    /// When it is not 1 to 32 lower-case letters, digits and `-`, beginning with a letter.
    pub fn new(word: &str) -> Result<Self, Malformed> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = word.len() <= 32 && word.starts_with(|c: char| c.is_ascii_lowercase());
        if !fits || !word.chars().all(plain) {
            let rule = "expected `read`, `write`, `delete` or a word of lower-case letters, digits and `-`";
            return Err(Malformed::new("category", rule));
        }
        Ok(Self(word.into()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Category {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::new(text)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that may let a call in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// This credential.
    Credential(CredentialId),
    /// Paying what upstream asks for.
    Payment,
}

/// A place in a request where a placeholder resolves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// This header.
    Header(HeaderName),
    /// This query parameter.
    Query(String),
    /// This JSON pointer into the body, or `/` and the name of a form field.
    Body(String),
    /// This parameter of the path.
    Path(String),
    /// This part of an `Authorization: Basic` pair.
    Basic(BasicPart),
    /// The item of `Sec-WebSocket-Protocol` that begins so.
    Protocol(String),
}

impl FromStr for Slot {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || {
            Malformed::new(
                "slot",
                "expected `header:<name>`, `query:<name>`, `path:<name>`, `body:/<pointer>`, `basic:user`, \
                 `basic:password` or `protocol:<prefix>`",
            )
        };
        let (kind, name) = text
            .split_once(':')
            .filter(|(_, name)| !name.is_empty())
            .ok_or_else(wrong)?;
        match kind {
            "header" => name.parse().ok().map(Self::Header).ok_or_else(wrong),
            "query" => Ok(Self::Query(name.to_owned())),
            "path" => Ok(Self::Path(name.to_owned())),
            "basic" if name == "user" => Ok(Self::Basic(BasicPart::User)),
            "basic" if name == "password" => Ok(Self::Basic(BasicPart::Password)),
            "protocol" => Ok(Self::Protocol(name.to_owned())),
            "body" if name.starts_with('/') => Ok(Self::Body(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Path(name) => write!(f, "path:{name}"),
            Self::Basic(BasicPart::User) => f.write_str("basic:user"),
            Self::Basic(BasicPart::Password) => f.write_str("basic:password"),
            Self::Protocol(prefix) => write!(f, "protocol:{prefix}"),
        }
    }
}

/// Whether a body has to be held whole before the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyNeed {
    /// Read all of it, up to so many bytes.
    Whole {
        /// The most this tool may send.
        bytes_max: usize,
    },
    /// It may pass through while it arrives.
    Streamed,
}

/// What the capture beside a receipt keeps of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The declared arguments.
    Arguments,
    /// Only their digest.
    Digest,
}

/// A protocol inside the body that Exeat reads, so that rules can speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing but HTTP.
    Http,
    /// Git's smart HTTP transport.
    Git,
    /// GraphQL over HTTP.
    GraphQl,
}
