//! What placeholders look like: as their provider's keys do, so that clients which check the shape accept them.
//!
//! Only unreserved characters (RFC 3986 section 2.3) occur, so that a placeholder looks the same encoded or not.

use std::{fmt, str::FromStr};

use exeat_types::{Malformed, Origin, Secret};

/// The look of a credential's placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Guessed from the secret's prefix, else from its origins.
    Auto,
    /// `exeat_ph_...`, for providers whose clients check nothing.
    Generic,
    /// GitHub personal access token, `ghp_...`.
    Github,
    /// GitHub fine-grained token, `github_pat_...`.
    GithubFineGrained,
    /// Anthropic API key.
    Anthropic,
    /// `OpenAI` key, `sk-...`.
    Openai,
    /// `OpenAI` project key, `sk-proj-...`.
    OpenaiProject,
    /// Slack bot token, `xoxb-...`.
    SlackBot,
    /// GitLab token, `glpat-...`.
    Gitlab,
    /// npm token, `npm_...`.
    Npm,
    /// `PyPI` token, `pypi-...`.
    Pypi,
    /// Stripe secret key, `sk_live_...`.
    Stripe,
    /// Google API key, `AIza...`.
    Google,
    /// Hugging Face token, `hf_...`.
    HuggingFace,
    /// Linear API key, `lin_api_...`.
    Linear,
    /// Notion token, `ntn_...`.
    Notion,
    /// crates.io token, `cio...`.
    Crates,
}

/// One part of a placeholder.
pub(crate) enum Piece {
    /// These characters.
    Text(&'static str),
    /// So many letters and digits.
    Random(usize),
}
use Piece::{Random, Text};

struct Form {
    shape: Shape,
    name: &'static str,
    /// The first piece is what real keys begin with.
    pieces: &'static [Piece],
    hosts: &'static [&'static str],
}

/// Longer prefixes stand before those they contain.
const FORMS: &[Form] = &[
    Form {
        shape: Shape::GithubFineGrained,
        name: "github-fine-grained",
        pieces: &[Text("github_pat_"), Random(22), Text("_"), Random(59)],
        hosts: &[],
    },
    Form {
        shape: Shape::Github,
        name: "github",
        pieces: &[Text("ghp_"), Random(36)],
        hosts: &["github.com", "githubusercontent.com", "ghcr.io"],
    },
    Form {
        shape: Shape::Anthropic,
        name: "anthropic",
        pieces: &[Text("sk-ant-api03-"), Random(93), Text("AA")],
        hosts: &["anthropic.com"],
    },
    Form {
        shape: Shape::OpenaiProject,
        name: "openai-project",
        pieces: &[Text("sk-proj-"), Random(148)],
        hosts: &["openai.com"],
    },
    Form {
        shape: Shape::Openai,
        name: "openai",
        pieces: &[Text("sk-"), Random(48)],
        hosts: &[],
    },
    Form {
        shape: Shape::SlackBot,
        name: "slack-bot",
        pieces: &[
            Text("xoxb-"),
            Text("100000000000-1000000000000-"),
            Random(24),
        ],
        hosts: &["slack.com"],
    },
    Form {
        shape: Shape::Gitlab,
        name: "gitlab",
        pieces: &[Text("glpat-"), Random(20)],
        hosts: &["gitlab.com"],
    },
    Form {
        shape: Shape::Npm,
        name: "npm",
        pieces: &[Text("npm_"), Random(36)],
        hosts: &[],
    },
    Form {
        shape: Shape::Pypi,
        name: "pypi",
        pieces: &[Text("pypi-"), Text("AgEIcHlwaS5vcmc"), Random(120)],
        hosts: &[],
    },
    Form {
        shape: Shape::Stripe,
        name: "stripe",
        pieces: &[Text("sk_live_"), Random(24)],
        hosts: &["stripe.com"],
    },
    Form {
        shape: Shape::Google,
        name: "google",
        pieces: &[Text("AIza"), Random(35)],
        hosts: &["googleapis.com"],
    },
    Form {
        shape: Shape::HuggingFace,
        name: "hugging-face",
        pieces: &[Text("hf_"), Random(34)],
        hosts: &["huggingface.co"],
    },
    Form {
        shape: Shape::Linear,
        name: "linear",
        pieces: &[Text("lin_api_"), Random(40)],
        hosts: &["linear.app"],
    },
    Form {
        shape: Shape::Notion,
        name: "notion",
        pieces: &[Text("ntn_"), Random(46)],
        hosts: &["notion.com"],
    },
    Form {
        shape: Shape::Crates,
        name: "crates",
        pieces: &[Text("cio"), Random(32)],
        hosts: &["crates.io"],
    },
    Form {
        shape: Shape::Generic,
        name: "generic",
        pieces: &[Text("exeat_ph_"), Random(32)],
        hosts: &[],
    },
];

impl Shape {
    /// The word used in configuration.
    pub fn name(self) -> &'static str {
        FORMS
            .iter()
            .find(|form| form.shape == self)
            .map_or("auto", |form| form.name)
    }

    /// Every word that configuration knows, with its shape.
    pub fn words() -> Vec<(&'static str, Self)> {
        let known = FORMS.iter().map(|form| (form.name, form.shape));
        std::iter::once(("auto", Self::Auto)).chain(known).collect()
    }

    /// Settles [`Shape::Auto`] by the secret's prefix, else by the origins; other shapes stay as they are.
    #[expect(
        clippy::disallowed_methods,
        reason = "the prefix of a key tells its provider"
    )]
    pub(crate) fn settle(self, origins: &[Origin], secret: &Secret) -> Self {
        if self != Self::Auto {
            return self;
        }
        let begins = |form: &&Form| match form.pieces.first() {
            Some(Text(prefix)) => secret.open().starts_with(prefix.as_bytes()),
            Some(Random(_)) | None => false,
        };
        let within = |name: &str, domain: &str| {
            name.strip_suffix(domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let serves = |form: &&Form| {
            let names = origins.iter().filter_map(|origin| origin.host.name());
            names
                .into_iter()
                .any(|name| form.hosts.iter().any(|domain| within(name, domain)))
        };
        let found = FORMS
            .iter()
            .find(begins)
            .or_else(|| FORMS.iter().find(serves));
        found.map_or(Self::Generic, |form| form.shape)
    }

    pub(crate) fn pieces(self) -> &'static [Piece] {
        let found = FORMS.iter().find(|form| form.shape == self);
        found.map_or(&[Text("exeat_ph_"), Random(32)], |form| form.pieces)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Shape {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let words = Self::words();
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, shape)| *shape);
        let listed = || {
            words
                .iter()
                .map(|(word, _)| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        found.ok_or_else(|| Malformed::new("shape", format!("expected one of {}", listed())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origin: &str, secret: &str, expect: Shape) {
        let origins = [Origin::parse(origin).unwrap()];
        let secret = Secret::new(secret.as_bytes().to_vec());
        assert_eq!(Shape::Auto.settle(&origins, &secret), expect, "{origin}");
    }

    #[test]
    fn the_shape_is_guessed_from_the_secret_then_from_the_origin() {
        check("https://api.github.com", "CANARY-shape-1", Shape::Github);
        check(
            "https://api.github.com",
            "github_pat_CANARY",
            Shape::GithubFineGrained,
        );
        check(
            "https://github.com.evil.example",
            "CANARY-shape-1",
            Shape::Generic,
        );
        check(
            "https://api.anthropic.com",
            "CANARY-shape-1",
            Shape::Anthropic,
        );
        check(
            "https://gateway.example",
            "sk-proj-CANARY",
            Shape::OpenaiProject,
        );
        check(
            "https://gateway.example",
            "sk-ant-api03-CANARY",
            Shape::Anthropic,
        );
        check("https://gateway.example", "sk-CANARY", Shape::Openai);
        check("https://api.linear.app", "CANARY-shape-1", Shape::Linear);
        check("https://api.notion.com", "CANARY-shape-1", Shape::Notion);
        check("https://gateway.example", "cioCANARY", Shape::Crates);
        check("https://192.0.2.1", "CANARY-shape-1", Shape::Generic);
    }

    #[test]
    fn every_shape_reads_back_from_its_word() {
        for (word, shape) in Shape::words() {
            assert_eq!(word.parse::<Shape>().unwrap(), shape);
            assert_eq!(shape.to_string(), word);
        }
        assert!(
            "gitea"
                .parse::<Shape>()
                .unwrap_err()
                .to_string()
                .contains("`gitlab`")
        );
    }

    #[test]
    fn placeholders_have_unreserved_characters_and_room_for_the_tag() {
        for (_, shape) in Shape::words() {
            let mut random = 0;
            for piece in shape.pieces() {
                match piece {
                    Text(text) => {
                        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
                        assert!(text.chars().all(plain), "{text}");
                    }
                    Random(count) => {
                        assert!(random > 0 || *count >= 20, "{shape}");
                        random += count;
                    }
                }
            }
        }
    }
}
