//! GitHub's whole published API, imported as tools, and the official SDK as the agent.

use std::ffi::OsStr;

use serde_json::Value;

use crate::site::{Server, Site, programs, real, seen};

const TOKEN: &str = "CANARY-github-token-5Qm2";

const POLICY: &str = r#"
[[rule]]
name = "read"
agents = ["coder"]
tools = ["github.*"]
category = ["read"]
effect = "allow"

[[rule]]
name = "issues and gists"
agents = ["coder"]
tools = ["github.issues.create", "github.gists.create"]
effect = "allow"

[[rule]]
name = "nothing is deleted"
agents = ["*"]
category = ["delete"]
effect = "deny"
"#;

/// One for each step: the tool, the decision, and the reason if it was refused.
const RECEIPTS: [(&str, &str, &str); 9] = [
    ("github.repos.get", "allowed", ""),
    ("github.repos.get", "allowed", ""),
    ("github.issues.list-for-repo", "allowed", ""),
    ("github.repos.get-content", "allowed", ""),
    ("github.issues.create", "allowed", ""),
    ("github.issues.create", "refused", "arguments-invalid"),
    ("github.issues.create", "refused", "placeholder-misused"),
    ("github.gists.create", "refused", "placeholder-misused"),
    ("github.repos.delete", "refused", "policy-forbids"),
];

fn site() -> (Site, Server) {
    let site = Site::new(&["api.github.com"]);
    let real = real();
    let record = site.outside("seen");
    let more = [
        "--real".as_ref(),
        real.as_os_str(),
        "--record".as_ref(),
        record.as_os_str(),
    ];
    let server = site.start("node", "github.mjs", &more);
    site.write("policy.toml", POLICY);
    site.write(
        "exeat.toml",
        &format!(
            "[agents.coder]\n\
             [credentials.github]\nkind = \"bearer\"\nsecret = \"sealed:github\"\nhosts = [\"api.github.com\"]\n\
             env = \"GITHUB_TOKEN\"\n\
             [network]\nallow-private = [\"api.github.com:443\"]\nupstream-roots = [\"root.pem\"]\n\
             connect-to = {{ \"api.github.com:443\" = \"127.0.0.1:{}\" }}\n",
            server.port
        ),
    );
    let description = real.join("node/node_modules/@octokit/openapi/generated/api.github.com.json");
    let options = [
        "--api-name",
        "github",
        "--credential",
        "github",
        "--encoded-slash",
        "path",
        "--out",
        "tools",
    ]
    .map(OsStr::new);
    let mut import = vec![
        "--json".as_ref(),
        "tool".as_ref(),
        "import".as_ref(),
        description.as_os_str(),
    ];
    import.extend(options);
    let imported: Value = serde_json::from_str(&site.own(&import, b"")).unwrap();
    assert_eq!(
        (imported["operations"].as_u64(), imported["tools"].as_u64()),
        (Some(1223), Some(1222))
    );
    site.seal("github", TOKEN);
    (site, server)
}

fn agent(site: &Site) -> Vec<Value> {
    let steps = [
        "read",
        "read-echo",
        "list",
        "content",
        "create",
        "create-badly",
        "leak-title",
        "leak-gist",
        "delete-repository",
    ];
    let mut agent = site.sealed();
    agent
        .arg("node")
        .arg(programs().join("octokit.mjs"))
        .arg("--real")
        .arg(real())
        .args(steps);
    site.outcomes(&mut agent, &[TOKEN])
}

#[test]
fn the_github_sdk_reads_is_refused_bad_arguments_and_deletes_nothing() {
    let (site, _server) = site();
    let outcomes = agent(&site);
    let of = |name: &str| {
        outcomes
            .iter()
            .find(|outcome| outcome["step"] == name)
            .unwrap()
    };

    let statuses: Vec<u64> = outcomes
        .iter()
        .map(|outcome| outcome["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [200, 200, 200, 200, 201, 422, 403, 403, 403]);
    assert_eq!(of("read")["body"]["full_name"], "octocat/Hello-World");
    assert!(
        of("read-echo")["headers"]["x-seen-authorization"]
            .as_str()
            .unwrap()
            .contains("[redacted:github]")
    );
    let reason = |name: &str| {
        of(name)["body"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(reason("create-badly"), "urn:exeat:reason:arguments-invalid");
    let detail = of("create-badly")["body"].to_string();
    assert!(
        detail.contains("title") && detail.contains("labels"),
        "{detail}"
    );
    assert_eq!(reason("leak-title"), "urn:exeat:reason:placeholder-misused");
    assert_eq!(reason("leak-gist"), "urn:exeat:reason:placeholder-misused");
    assert_eq!(
        reason("delete-repository"),
        "urn:exeat:reason:policy-forbids"
    );

    // What was refused never came near the server; what was allowed came with the real token.
    let seen = seen(&site.outside("seen"));
    assert_eq!(
        seen[3]["path"], "/repos/octo/hello/contents/docs%2FREADME.md",
        "the SDK's own bytes"
    );
    let arrived: Vec<(String, String)> = seen
        .iter()
        .map(|seen| {
            (
                seen["method"].as_str().unwrap().to_owned(),
                seen["authorization"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let bearer = format!("Bearer {TOKEN}");
    let expected =
        ["GET", "GET", "GET", "GET", "POST"].map(|method| (method.to_owned(), bearer.clone()));
    assert_eq!(arrived, expected);

    let receipts = RECEIPTS
        .map(|(tool, decision, reason)| (tool.to_owned(), decision.to_owned(), reason.to_owned()));
    assert_eq!(site.receipts(), receipts);
    site.holds_none_of(&[TOKEN]);
}
