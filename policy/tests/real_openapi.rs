//! GitHub's whole published description, as the package `@octokit/openapi` ships it, becomes tools that compile.
//!
//! `scripts/real-deps` installs the package.

use std::path::PathBuf;

use exeat_policy::{
    Policy, Sources, World,
    openapi::{Imported, Options, import},
};
use exeat_types::{CredentialId, Origin, Source};
use http::Method;

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says where packages are kept"
)]
fn imported() -> Imported {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/exeat");
    let cache = std::env::var_os("EXEAT_CACHE").map_or_else(home, PathBuf::from);
    let file = cache.join("real/node/node_modules/@octokit/openapi/generated/api.github.com.json");
    let text = std::fs::read_to_string(&file).expect("scripts/real-deps installs the description");
    let options = Options {
        credential: Some("github".to_owned()),
        ..Options::default()
    };
    import(&Source::new("api.github.com.json", &text), &options).unwrap()
}

#[test]
fn every_operation_of_github_is_carried_by_a_tool_and_every_note_is_explained() {
    let imported = imported();
    // One request belongs to one tool: `compare-commits` and `compare-commits-with-basehead` are the same requests.
    assert_eq!((imported.operations, imported.tools), (1223, 1222));
    let left_out = imported
        .notes
        .iter()
        .filter(|note| note.why.contains("left out"));
    let left_out: Vec<&str> = left_out.map(|note| note.operation.as_str()).collect();
    assert_eq!(left_out, ["repos.compare-commits"]);
    let explained =
        |note: &exeat_policy::openapi::Note| !note.why.is_empty() && !note.what.is_empty();
    assert!(imported.notes.iter().all(explained));
}

#[test]
fn the_tools_of_github_compile_and_are_found() {
    let imported = imported();
    let origin = Origin::parse("https://api.github.com").unwrap();
    let github = (CredentialId::new("github").unwrap(), vec![origin.clone()]);
    let world = World {
        agents: [].into(),
        credentials: [github].into(),
    };
    let tools = imported
        .files
        .iter()
        .map(|(name, text)| Source::new(name, text))
        .collect();
    let sources = Sources {
        tools,
        policy: Vec::new(),
        cedar: Vec::new(),
    };
    let policy = Policy::compile(&sources, &world).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(policy.tools().count(), 1222);

    let cases = [
        (
            Method::POST,
            "/repos/octo/hello/issues",
            "github.issues.create",
        ),
        (
            Method::GET,
            "/repos/octo/hello/contents/docs/README.md",
            "github.repos.get-content",
        ),
        (
            Method::GET,
            "/repos/o/h/compare/main...next",
            "github.repos.compare-commits-with-basehead",
        ),
        (Method::DELETE, "/repos/octo/hello", "github.repos.delete"),
    ];
    for (method, path, tool) in cases {
        let found = policy.find(&method, &origin, path).unwrap();
        assert_eq!(found.tool.name.as_str(), tool);
    }
}
