//! Every block of docs/CREDENTIALS.md is a configuration that loads, or belongs to tools and rules that compile.

use std::{collections::BTreeMap, path::Path};

use exeat_policy::{Policy, Sources, World};
use exeat_types::{AgentId, CredentialId, Origin, Source};

use crate::settings::Settings;

const DOCUMENT: &str = include_str!("../../../../docs/CREDENTIALS.md");

/// The file that blocks name as `client.pem`; what is in it is looked at when the gate starts.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// The credentials that tools of the document name, and where they go.
const NAMED: [(&str, &str); 3] = [
    ("press-card", "https://api.news.example"),
    ("news-oauth", "https://api.news.example"),
    ("telegram", "https://api.telegram.org"),
];

/// The blocks of one file in the document, with the line that each begins on: a block of another file than `exeat.toml`
/// begins with its name in a comment.
fn blocks(file: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    for (line, number) in DOCUMENT.lines().zip(1..) {
        match &mut open {
            None if line == "```toml" => open = Some((number, Vec::new())),
            None => {}
            Some((start, lines)) if line == "```" => {
                found.push((*start, lines.join("\n")));
                open = None;
            }
            Some((_, lines)) => lines.push(line),
        }
    }
    found.retain(|(_, text)| {
        let first = text.lines().next().unwrap_or_default();
        let mut named = ["# tools/", "# policy.toml"].into_iter();
        named
            .find(|name| first.starts_with(name))
            .unwrap_or("exeat.toml")
            == file
    });
    found
}

#[test]
fn every_documented_block_loads() {
    let blocks = blocks("exeat.toml");
    assert!(!blocks.is_empty());
    for (line, text) in blocks {
        let whole = format!("[agents.claude]\n{text}\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("exeat.toml");
        std::fs::write(&file, &whole).unwrap();
        std::fs::write(folder.path().join("client.pem"), CERTIFICATE).unwrap();
        let source = Source::new(&file.display().to_string(), &whole);
        let read = Settings::parse(Path::new(&file), &source);
        if let Err(report) = read {
            panic!("docs/CREDENTIALS.md, line {line}:\n{report}");
        }
    }
}

#[test]
fn the_documented_tools_and_rules_compile_together() {
    let read = |file: &str| -> Vec<Source> {
        let blocks = blocks(file).into_iter();
        let at = |line: usize| format!("docs/CREDENTIALS.md, line {line}");
        blocks
            .map(|(line, text)| Source::new(&at(line), &text))
            .collect()
    };
    let sources = Sources {
        tools: read("# tools/"),
        policy: read("# policy.toml"),
        cedar: Vec::new(),
    };
    assert!(sources.tools.len() > 3 && !sources.policy.is_empty());
    let named = NAMED.map(|(name, origin)| {
        let origins = vec![Origin::parse(origin).unwrap()];
        (CredentialId::new(name).unwrap(), origins)
    });
    let world = World {
        agents: BTreeMap::from([(AgentId::new("claude").unwrap(), Vec::new())]),
        credentials: BTreeMap::from(named),
    };
    if let Err(report) = Policy::compile(&sources, &world) {
        panic!("{report}");
    }
}
