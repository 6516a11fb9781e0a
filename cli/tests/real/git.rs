//! git itself, against `git http-backend` behind nginx: credentials it never held, and pushes judged by what they change.

use std::ffi::OsStr;

use crate::site::{Server, Site, programs, seen};

const PASSWORD: &str = "CANARY-git-password-7Hd";
/// `agent:` and the password, as Basic authentication writes them.
const PAIR: &str = "YWdlbnQ6Q0FOQVJZLWdpdC1wYXNzd29yZC03SGQ=";

const TOOLS: &str = r#"
[api]
name = "git"
origin = "https://git.example.com"
credential = "git"

[[tool]]
name = "refs"
request = "GET /{repo}/info/refs"
category = "read"
description = "List refs"
[tool.input.query]
required = ["service"]
properties = { service = { enum = ["git-upload-pack", "git-receive-pack"] } }

[[tool]]
name = "fetch"
request = "POST /{repo}/git-upload-pack"
category = "read"
description = "Fetch or clone"
[tool.input.body]
media = "binary"

[[tool]]
name = "push"
request = "POST /{repo}/git-receive-pack"
category = "write"
description = "Push commits"
protocol = "git"
"#;

const POLICY: &str = r#"
[[rule]]
name = "fetch and push"
agents = ["coder"]
tools = ["git.*"]
effect = "allow"

[[rule]]
name = "never main"
agents = ["*"]
tools = ["git.push"]
when = 'context.args.git.branches.contains("main")'
effect = "deny"

[[rule]]
name = "never by force"
agents = ["*"]
tools = ["git.push"]
when = 'context.args.git.force'
effect = "deny"

[[rule]]
name = "never a deletion"
agents = ["*"]
tools = ["git.push"]
when = 'context.args.git.deletes'
effect = "deny"
"#;

fn site() -> (Site, Server) {
    let site = Site::new(&["git.example.com"]);
    let folder = site.outside("git");
    let login = ["--user", "agent", "--password", PASSWORD].map(OsStr::new);
    let mut more = vec![OsStr::new("--dir"), folder.as_os_str()];
    more.extend(login);
    let server = site.start("python3", "git_server/start.py", &more);
    site.write("tools/git.toml", TOOLS);
    site.write("policy.toml", POLICY);
    site.write(
        "exeat.toml",
        &format!(
            "[agents.coder]\n\
             [credentials.git]\nkind = \"basic\"\nusername = \"agent\"\nsecret = \"sealed:git\"\n\
             hosts = [\"git.example.com\"]\n\
             [network]\nallow-private = [\"git.example.com:443\"]\nupstream-roots = [\"root.pem\"]\n\
             connect-to = {{ \"git.example.com:443\" = \"127.0.0.1:{}\" }}\n",
            server.port
        ),
    );
    site.seal("git", PASSWORD);
    (site, server)
}

#[test]
fn git_clones_and_pushes_a_branch_but_not_main_not_by_force_and_no_deletion() {
    let (site, _server) = site();
    let mut agent = site.sealed();
    agent.arg("python3").arg(programs().join("git_client.py"));
    agent.args([
        "--url",
        "https://git.example.com/hello.git",
        "--dir",
        "work",
        "clone",
        "push-branch",
    ]);
    agent.args([
        "push-main",
        "force-branch",
        "delete-branch",
        "push-tag",
        "push-large",
    ]);
    let outcomes = site.outcomes(&mut agent, &[PASSWORD, PAIR]);
    let done: Vec<(&str, bool)> = outcomes
        .iter()
        .map(|outcome| (outcome["step"].as_str().unwrap(), outcome["status"] == 0))
        .collect();
    let expected = [
        ("clone", true),
        ("push-branch", true),
        ("push-main", false),
        ("force-branch", false),
        ("delete-branch", false),
        ("push-tag", true),
        ("push-large", true),
    ];
    assert_eq!(done, expected, "{outcomes:?}");

    // Every request carried the password that the agent never had, and no refused push came near the server.
    let requests = seen(&site.outside("git/seen.log"));
    assert!(
        requests
            .iter()
            .all(|seen| seen["authorization"] == format!("Basic {PAIR}").as_str()),
        "{requests:?}"
    );
    let pushes = requests
        .iter()
        .filter(|seen| seen["path"] == "/hello.git/git-receive-pack")
        .count();
    // One each, and a probe before the large one.
    assert_eq!(pushes, 4);
    let refused = site
        .receipts()
        .into_iter()
        .filter(|(_, decision, _)| decision == "refused");
    let refused: Vec<(String, String)> = refused.map(|(tool, _, reason)| (tool, reason)).collect();
    assert_eq!(
        refused,
        vec![("git.push".to_owned(), "policy-forbids".to_owned()); 3]
    );
    site.holds_none_of(&[PASSWORD, PAIR]);
}
