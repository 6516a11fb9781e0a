//! The table of presets: which texts of `configs/presets` belong together. Nothing is decided here.

use super::{Form, Key, Preset};

macro_rules! text {
    ($path:literal) => {
        include_str!(concat!("../../../configs/presets/", $path))
    };
}

macro_rules! tools {
    ($($file:literal = $path:literal),+) => { &[$(($file, text!($path))),+] };
}

/// Every preset.
pub(crate) const ALL: [Preset; 13] = [
    Preset {
        name: "anthropic",
        keys: &[
            Key {
                variables: &["ANTHROPIC_API_KEY"],
                credentials: &["anthropic"],
                text: text!("anthropic/key.toml"),
            },
            Key {
                variables: &["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"],
                credentials: &["anthropic"],
                text: text!("anthropic/login.toml"),
            },
        ],
        rules: text!("anthropic/rules.toml"),
        tools: tools!("anthropic.toml" = "anthropic/tools.toml"),
        cases: text!("anthropic/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "openai",
        keys: &[Key {
            variables: &["OPENAI_API_KEY"],
            credentials: &["openai"],
            text: text!("openai/key.toml"),
        }],
        rules: text!("openai/rules.toml"),
        tools: tools!("openai.toml" = "openai/tools.toml"),
        cases: text!("openai/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "github",
        keys: &[Key {
            variables: &["GITHUB_TOKEN", "GH_TOKEN"],
            credentials: &["github", "github-git"],
            text: text!("github/key.toml"),
        }],
        rules: text!("github/rules.toml"),
        tools: tools!(
            "github.toml" = "github/tools.toml",
            "github-graphql.toml" = "github/graphql.toml",
            "github-git.toml" = "github/git.toml"
        ),
        cases: text!("github/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "gitlab",
        keys: &[Key {
            variables: &[
                "GITLAB_TOKEN",
                "GITLAB_PRIVATE_TOKEN",
                "GITLAB_ACCESS_TOKEN",
            ],
            credentials: &["gitlab", "gitlab-git"],
            text: text!("gitlab/key.toml"),
        }],
        rules: text!("gitlab/rules.toml"),
        tools: tools!(
            "gitlab.toml" = "gitlab/tools.toml",
            "gitlab-git.toml" = "gitlab/git.toml"
        ),
        cases: text!("gitlab/cases.toml"),
        forms: &[Form {
            name: "oauth",
            text: text!("gitlab/oauth.toml"),
            rules: None,
            tools: None,
            cases: None,
        }],
    },
    Preset {
        name: "slack",
        keys: &[Key {
            variables: &["SLACK_BOT_TOKEN", "SLACK_TOKEN"],
            credentials: &["slack"],
            text: text!("slack/key.toml"),
        }],
        rules: text!("slack/rules.toml"),
        tools: tools!("slack.toml" = "slack/tools.toml"),
        cases: text!("slack/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "stripe",
        keys: &[Key {
            variables: &["STRIPE_API_KEY", "STRIPE_SECRET_KEY"],
            credentials: &["stripe"],
            text: text!("stripe/key.toml"),
        }],
        rules: text!("stripe/rules.toml"),
        tools: tools!("stripe.toml" = "stripe/tools.toml"),
        cases: text!("stripe/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "linear",
        keys: &[Key {
            variables: &["LINEAR_API_KEY", "LINEAR_TOKEN"],
            credentials: &["linear"],
            text: text!("linear/key.toml"),
        }],
        rules: text!("linear/rules.toml"),
        tools: tools!("linear.toml" = "linear/tools.toml"),
        cases: text!("linear/cases.toml"),
        forms: &[Form {
            name: "oauth",
            text: text!("linear/oauth.toml"),
            rules: None,
            tools: None,
            cases: None,
        }],
    },
    Preset {
        name: "notion",
        keys: &[Key {
            variables: &["NOTION_TOKEN", "NOTION_API_KEY"],
            credentials: &["notion"],
            text: text!("notion/key.toml"),
        }],
        rules: text!("notion/rules.toml"),
        tools: tools!("notion.toml" = "notion/tools.toml"),
        cases: text!("notion/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "google",
        keys: &[Key {
            variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
            credentials: &["gemini"],
            text: text!("google/key.toml"),
        }],
        rules: text!("google/rules.toml"),
        tools: tools!("gemini.toml" = "google/gemini.toml"),
        cases: text!("google/cases.toml"),
        forms: &[Form {
            name: "oauth",
            text: text!("google/oauth.toml"),
            rules: Some(text!("google/oauth-rules.toml")),
            tools: Some(tools!(
                "google.toml" = "google/workspace.toml",
                "gmail.toml" = "google/gmail.toml"
            )),
            cases: Some(text!("google/oauth-cases.toml")),
        }],
    },
    Preset {
        name: "aws",
        keys: &[],
        rules: text!("aws/rules.toml"),
        tools: tools!(
            "aws-s3.toml" = "aws/s3.toml",
            "aws-dynamodb.toml" = "aws/dynamodb.toml",
            "aws-sts.toml" = "aws/sts.toml"
        ),
        cases: text!("aws/cases.toml"),
        forms: &[Form {
            name: "sigv4",
            text: text!("aws/key.toml"),
            rules: None,
            tools: None,
            cases: None,
        }],
    },
    Preset {
        name: "npm",
        keys: &[Key {
            variables: &["NPM_TOKEN", "NODE_AUTH_TOKEN"],
            credentials: &["npm"],
            text: text!("npm/key.toml"),
        }],
        rules: text!("npm/rules.toml"),
        tools: tools!("npm.toml" = "npm/tools.toml"),
        cases: text!("npm/cases.toml"),
        forms: &[],
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
            text: text!("pypi/key.toml"),
        }],
        rules: text!("pypi/rules.toml"),
        tools: tools!(
            "pypi.toml" = "pypi/index.toml",
            "pypi-files.toml" = "pypi/files.toml",
            "pypi-upload.toml" = "pypi/upload.toml"
        ),
        cases: text!("pypi/cases.toml"),
        forms: &[],
    },
    Preset {
        name: "crates",
        keys: &[Key {
            variables: &["CARGO_REGISTRY_TOKEN"],
            credentials: &["crates"],
            text: text!("crates/key.toml"),
        }],
        rules: text!("crates/rules.toml"),
        tools: tools!(
            "crates.toml" = "crates/api.toml",
            "crates-index.toml" = "crates/index.toml",
            "crates-files.toml" = "crates/files.toml"
        ),
        cases: text!("crates/cases.toml"),
        forms: &[],
    },
];
