//! docs/CONFIG.md, or for credentials docs/CREDENTIALS.md, names every key that the configuration readers ask for.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context as _;

/// Where keys are asked for.
const READERS: [&str; 26] = [
    "cli/src/settings/credentials/entitlement.rs",
    "cli/src/settings/credentials/github.rs",
    "cli/src/settings/credentials/google.rs",
    "cli/src/settings/credentials/mod.rs",
    "cli/src/settings/credentials/mtls.rs",
    "cli/src/settings/credentials/oauth.rs",
    "cli/src/settings/credentials/registry.rs",
    "cli/src/settings/credentials/signature.rs",
    "cli/src/settings/credentials/sigv4.rs",
    "cli/src/settings/credentials/simple.rs",
    "cli/src/settings/notify.rs",
    "cli/src/settings/raw.rs",
    "cli/src/settings/raw_console.rs",
    "cli/src/settings/signers/local.rs",
    "cli/src/settings/signers/remote.rs",
    "cli/src/settings/vault.rs",
    "policy/src/cost.rs",
    "policy/src/declare.rs",
    "policy/src/declare/local.rs",
    "policy/src/declare/response.rs",
    "policy/src/declare/sections.rs",
    "policy/src/limits/read.rs",
    "policy/src/limits/read/amounts.rs",
    "policy/src/risk.rs",
    "policy/src/rules.rs",
    "policy/src/rules/approve.rs",
];

/// How they are asked for.
const CALLS: [&str; 6] = [
    ".get(\"",
    ".need(\"",
    "text(table, \"",
    "texts(table, \"",
    "texts(&inner, \"",
    "section(&root, \"",
];

/// Not keys of a configuration file: a word of JSON Schema, and a key that is refused by name.
const NOT_KEYS: [&str; 2] = ["type", "url"];

/// Every key that the document does not name.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"))
    };
    let document = read("docs/CONFIG.md")? + &read("docs/CREDENTIALS.md")?;
    let mut problems = Vec::new();
    for reader in READERS {
        for key in keys(&read(reader)?) {
            if !NOT_KEYS.contains(&key) && !names(&document, key) {
                problems.push(format!(
                    "neither docs/CONFIG.md nor docs/CREDENTIALS.md names `{key}`, which {reader} reads"
                ));
            }
        }
    }
    Ok(problems)
}

/// The keys that a reader's own code asks for.
fn keys(source: &str) -> BTreeSet<&str> {
    let own = source
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let after = |call: &'static str| {
        own.split(call)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    };
    CALLS.into_iter().flat_map(after).collect()
}

/// Whether a text has the key as code or as a line of TOML.
fn names(document: &str, key: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    document.match_indices(key).any(|(at, _)| {
        let before = document.get(..at).and_then(|text| text.chars().next_back());
        let after = document
            .get(at.saturating_add(key.len())..)
            .and_then(|text| text.chars().next());
        before.is_none_or(|c| "`[.{, \n".contains(c)) && !after.is_some_and(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        assert_eq!(check(&crate::root()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn keys_are_found_where_they_are_asked_for() {
        let source = "table.get(\"agent\"); inner.need(\"kind\");\n#[cfg(test)]\nmod tests { x.get(\"no\") }";
        assert_eq!(
            keys(source).into_iter().collect::<Vec<_>>(),
            ["agent", "kind"]
        );
        assert!(names("`agent` is", "agent") && !names("agents", "agent") && !names("", "agent"));
    }
}
