//! Presets: what `exeat run` adds to a configuration when a key that it found goes into custody. The texts are files in
//! `configs/presets`, so that people can read them; here is which key belongs to which. `install.rs` adds them.
//!
//! In the texts, `AGENT` stands for the agent's name and `VARIABLE` for the variable that held the key.

mod install;

pub(crate) use install::{Addition, Installation, Unfit, alone};

/// The tools, the credentials and the rules of one provider.
#[derive(Debug)]
pub(crate) struct Preset {
    /// Its name, which is also the name of the sealed secret.
    pub(crate) name: &'static str,
    /// The kinds of keys there are, the preferred one first.
    pub(crate) keys: &'static [Key],
    rules: &'static str,
    tools: &'static [(&'static str, &'static str)],
}

/// A kind of key: where it is found, and how it travels.
#[derive(Debug)]
pub(crate) struct Key {
    /// Variables that hold it, the preferred one first.
    pub(crate) variables: &'static [&'static str],
    /// Names of the credentials in the text below.
    credentials: &'static [&'static str],
    text: &'static str,
}

/// What rules of presets are called begins with this.
const RULE_PREFIX: &str = "preset ";

/// Every preset.
pub(crate) const ALL: [Preset; 5] = [
    Preset {
        name: "anthropic",
        keys: &[
            Key {
                variables: &["ANTHROPIC_API_KEY"],
                credentials: &["anthropic"],
                text: include_str!("../../../configs/presets/anthropic/key.toml"),
            },
            Key {
                variables: &["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"],
                credentials: &["anthropic"],
                text: include_str!("../../../configs/presets/anthropic/login.toml"),
            },
        ],
        rules: include_str!("../../../configs/presets/anthropic/rules.toml"),
        tools: &[(
            "anthropic.toml",
            include_str!("../../../configs/presets/anthropic/tools.toml"),
        )],
    },
    Preset {
        name: "openai",
        keys: &[Key {
            variables: &["OPENAI_API_KEY"],
            credentials: &["openai"],
            text: include_str!("../../../configs/presets/openai/key.toml"),
        }],
        rules: include_str!("../../../configs/presets/openai/rules.toml"),
        tools: &[(
            "openai.toml",
            include_str!("../../../configs/presets/openai/tools.toml"),
        )],
    },
    Preset {
        name: "github",
        keys: &[Key {
            variables: &["GITHUB_TOKEN", "GH_TOKEN"],
            credentials: &["github", "github-git"],
            text: include_str!("../../../configs/presets/github/key.toml"),
        }],
        rules: include_str!("../../../configs/presets/github/rules.toml"),
        tools: &[
            (
                "github.toml",
                include_str!("../../../configs/presets/github/tools.toml"),
            ),
            (
                "github-git.toml",
                include_str!("../../../configs/presets/github/git.toml"),
            ),
        ],
    },
    Preset {
        name: "npm",
        keys: &[Key {
            variables: &["NPM_TOKEN", "NODE_AUTH_TOKEN"],
            credentials: &["npm"],
            text: include_str!("../../../configs/presets/npm/key.toml"),
        }],
        rules: include_str!("../../../configs/presets/npm/rules.toml"),
        tools: &[(
            "npm.toml",
            include_str!("../../../configs/presets/npm/tools.toml"),
        )],
    },
    Preset {
        name: "pypi",
        keys: &[Key {
            variables: &[
                "TWINE_PASSWORD",
                "UV_PUBLISH_TOKEN",
                "POETRY_PYPI_TOKEN_PYPI",
                "FLIT_PASSWORD",
                "PYPI_TOKEN",
            ],
            credentials: &["pypi"],
            text: include_str!("../../../configs/presets/pypi/key.toml"),
        }],
        rules: include_str!("../../../configs/presets/pypi/rules.toml"),
        tools: &[
            (
                "pypi.toml",
                include_str!("../../../configs/presets/pypi/index.toml"),
            ),
            (
                "pypi-files.toml",
                include_str!("../../../configs/presets/pypi/files.toml"),
            ),
            (
                "pypi-upload.toml",
                include_str!("../../../configs/presets/pypi/upload.toml"),
            ),
        ],
    },
];

/// Keys that this version cannot use for an agent: what they are, and the variables that hold them.
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
