//! Presets: what `exeat run` adds to a configuration when a key that it found goes into custody. The texts are files in
//! `configs/presets`, so that people can read them; here is which key belongs to which. `install.rs` adds them.
//!
//! In the texts, `AGENT` stands for the agent's name and `VARIABLE` for the variable that held the key.

mod all;
mod install;
mod trial;

pub(crate) use all::ALL;
pub(crate) use install::{Addition, Installation, Unfit, alone};

/// The tools, the credentials and the rules of one provider.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Its name, which is also the name of the sealed secret.
    pub(crate) name: &'static str,
    /// The kinds of keys there are, the preferred one first.
    pub(crate) keys: &'static [Key],
    rules: &'static str,
    tools: Texts,
    /// What it means, as cases.
    cases: &'static str,
    /// Other credentials for it, which lie in no variable.
    pub(crate) forms: &'static [Form],
}

/// Texts, each with the name of its file.
type Texts = &'static [(&'static str, &'static str)];

/// A kind of key: where it is found, and how it travels.
#[derive(Debug)]
pub(crate) struct Key {
    /// Variables that hold it, the preferred one first.
    pub(crate) variables: &'static [&'static str],
    /// Names of the credentials in the text below.
    credentials: &'static [&'static str],
    pub(crate) text: &'static str,
}

/// A credential that lies in no variable: somebody writes it into the configuration. It may bring tools of its own.
#[derive(Debug)]
pub(crate) struct Form {
    /// Its name.
    pub(crate) name: &'static str,
    /// The credential.
    pub(crate) text: &'static str,
    rules: Option<&'static str>,
    tools: Option<Texts>,
    cases: Option<&'static str>,
}

impl Preset {
    /// The preset of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|preset| preset.name == name)
    }

    /// Every text of it, with the name of the file that it belongs into.
    pub(crate) fn texts(&self) -> Vec<(String, &'static str)> {
        let mut texts: Vec<(String, &'static str)> = Vec::new();
        for key in self.keys {
            texts.push((
                format!("exeat.toml, for {}", key.variables.join(" or ")),
                key.text,
            ));
        }
        for form in self.forms {
            texts.push((format!("exeat.toml, as {}", form.name), form.text));
        }
        let more = self.forms.iter().filter_map(|form| form.tools).flatten();
        let tools = self.tools.iter().chain(more);
        texts.extend(tools.map(|(file, text)| (format!("tools/{file}"), *text)));
        let more = self.forms.iter().filter_map(|form| form.rules);
        let rules = std::iter::once(self.rules).chain(more);
        texts.extend(rules.map(|text| ("policy.toml".to_owned(), text)));
        texts
    }
}

/// What rules of presets are called begins with this.
const RULE_PREFIX: &str = "preset ";

/// Keys that are not taken from variables, as they have more than one part: what they are, and the variables that hold them.
pub(crate) const NOT_BROKERED: [(&str, &[&str]); 2] = [
    (
        "AWS",
        &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ],
    ),
    (
        "Docker registries",
        &["DOCKER_AUTH_CONFIG", "DOCKER_PASSWORD", "DOCKER_USERNAME"],
    ),
];

/// Whether a rule of this name was written by a preset.
pub(crate) fn wrote_rule(name: &str) -> bool {
    name.starts_with(RULE_PREFIX)
}
