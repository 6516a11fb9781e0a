//! GitHub's preset as it comes, and the GraphQL of the official SDK.

use serde_json::Value;

use crate::site::{Site, programs, real, seen};

const TOKEN: &str = "CANARY-github-graphql-token-3Tn7";

const TOOLS: [(&str, &str); 3] = [
    (
        "tools/github.toml",
        include_str!("../../../configs/presets/github/tools.toml"),
    ),
    (
        "tools/graphql.toml",
        include_str!("../../../configs/presets/github/graphql.toml"),
    ),
    (
        "tools/git.toml",
        include_str!("../../../configs/presets/github/git.toml"),
    ),
];
const RULES: &str = include_str!("../../../configs/presets/github/rules.toml");
const KEY: &str = include_str!("../../../configs/presets/github/key.toml");

#[test]
fn the_sdk_queries_and_comments_and_deletes_under_no_name() {
    let site = Site::new(&["api.github.com"]);
    let (real, record) = (real(), site.outside("seen"));
    let more = [
        "--real".as_ref(),
        real.as_os_str(),
        "--record".as_ref(),
        record.as_os_str(),
    ];
    let server = site.start("node", "github.mjs", &more);
    for (name, text) in TOOLS {
        site.write(name, text);
    }
    site.write("policy.toml", &RULES.replace("AGENT", "coder"));
    let network = format!(
        "[agents.coder]\n{KEY}\n\
         [network]\nallow-private = [\"api.github.com:443\"]\nupstream-roots = [\"root.pem\"]\n\
         connect-to = {{ \"api.github.com:443\" = \"127.0.0.1:{}\" }}\n",
        server.port
    );
    site.write("exeat.toml", &network);
    site.seal("github", TOKEN);
    let mut agent = site.sealed_as("coder");
    let steps =
        ["read", "comment", "delete", "alias", "rider"].map(|step| format!("graphql-{step}"));
    agent
        .arg("node")
        .arg(programs().join("octokit.mjs"))
        .arg("--real")
        .arg(&real)
        .args(steps);
    let outcomes = site.outcomes(&mut agent, &[TOKEN]);
    let statuses: Vec<u64> = outcomes
        .iter()
        .map(|outcome| outcome["status"].as_u64().unwrap_or_default())
        .collect();
    assert_eq!(statuses, [200, 200, 403, 403, 403], "{outcomes:?}");
    assert_eq!(outcomes[0]["body"]["viewer"]["login"], "octocat");
    let arrived: Vec<Value> = seen(&record);
    assert_eq!(arrived.len(), 2);
    for (seen, field) in arrived.iter().zip(["totalCount", "addComment"]) {
        assert!(seen["query"].as_str().unwrap().contains(field), "{seen}");
        assert_eq!(seen["authorization"], format!("Bearer {TOKEN}"));
    }
    let expected = [
        ("github.graphql.query", "allowed", ""),
        ("github.graphql.write", "allowed", ""),
        ("github.graphql.delete", "refused", "policy-forbids"),
        ("github.graphql.delete", "refused", "policy-forbids"),
        ("", "refused", "tool-unknown"),
    ];
    let expected = expected
        .map(|(tool, decision, reason)| (tool.to_owned(), decision.to_owned(), reason.to_owned()));
    assert_eq!(site.receipts(), expected);
    site.holds_none_of(&[TOKEN]);
}
