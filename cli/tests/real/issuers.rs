//! Tokens and credentials that the gate obtains, signs and shows, judged by libraries of others: PyJWT and joserfc read our
//! JWTs, http-message-signatures our signatures. The servers are simulated; the agent holds placeholders throughout.

use std::{ffi::OsStr, fs};

use serde_json::{Value, json};

use crate::site::{Server, Site, node, programs, python, real, seen};

const NAMES: [&str; 7] = [
    "git.example.com",
    "google.example.com",
    "storage.example.com",
    "github.example.com",
    "signed.example.com",
    "issuer.example.com",
    "shop.example.com",
];

const POLICY: &str = r#"
[[rule]]
name = "anything declared"
agents = ["coder"]
tools = ["*"]
effect = "allow"
"#;

/// A site whose servers are simulated, with these credentials and tools.
fn site(credentials: &str, tools: &[(&str, &str)]) -> (Site, Server) {
    let site = Site::new(&NAMES);
    let folder = site.outside("issuers");
    let more = [OsStr::new("--dir"), folder.as_os_str()];
    let server = site.start(python().to_str().unwrap(), "simulated_issuers.py", &more);
    for (name, text) in tools {
        site.write(&format!("tools/{name}.toml"), text);
    }
    site.write("policy.toml", POLICY);
    let places = |write: fn(&str, u16) -> String| {
        let all: Vec<String> = NAMES.iter().map(|name| write(name, server.port)).collect();
        all.join(", ")
    };
    let private = places(|name, _| format!("\"{name}:443\""));
    let routes = places(|name, port| format!("\"{name}:443\" = \"127.0.0.1:{port}\""));
    let network = format!(
        "[network]\nallow-private = [{private}]\nupstream-roots = [\"root.pem\"]\nconnect-to = {{ {routes} }}\n"
    );
    site.write(
        "exeat.toml",
        &format!("[agents.coder]\n{credentials}\n{network}"),
    );
    (site, server)
}

/// Seals what a server wrote into its folder.
fn seal(site: &Site, name: &str, file: &str) -> String {
    let text = fs::read_to_string(site.outside(&format!("issuers/{file}"))).unwrap();
    site.seal(name, &text);
    text
}

/// What came of these calls: the status and the body of each.
#[track_caller]
fn calls(site: &Site, calls: &[&[&str]], secrets: &[&str]) -> Vec<(u64, Value)> {
    let mut agent = site.sealed();
    agent.arg(python()).arg(programs().join("calls.py"));
    for (place, call) in calls.iter().enumerate() {
        if place > 0 {
            agent.arg("--");
        }
        agent.args(*call);
    }
    let read = |outcome: &Value| {
        let body = outcome["body"].as_str().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        (outcome["status"].as_u64().unwrap(), body)
    };
    site.outcomes(&mut agent, secrets)
        .iter()
        .map(read)
        .collect()
}

/// How often the servers were asked for this path.
fn asked(site: &Site, path: &str) -> usize {
    let all = seen(&site.outside("issuers/seen.log"));
    all.iter().filter(|one| one["path"] == path).count()
}

const STORAGE: &str = r#"
[api]
name = "storage"
origin = "https://storage.example.com"
credential = "storage"

[[tool]]
name = "buckets"
request = "GET /buckets"
category = "read"
description = "List buckets"

[[tool]]
name = "self"
request = "GET /self"
category = "read"
description = "Say who asks"
credential = "self"
"#;

#[test]
fn a_service_account_obtains_one_token_and_signs_others_itself() {
    let credentials = r#"
[credentials.storage]
kind = "gcp-service-account"
secret = "sealed:google"
scopes = ["https://www.googleapis.com/auth/devstorage.read_only"]
token-endpoint = "https://google.example.com/token"
hosts = ["storage.example.com"]
env = "STORAGE_TOKEN"

[credentials.self]
kind = "gcp-service-account"
form = "self-signed"
secret = "sealed:google"
token-endpoint = "https://google.example.com/token"
hosts = ["storage.example.com"]
"#;
    let (site, _server) = site(credentials, &[("storage", STORAGE)]);
    seal(&site, "google", "google.json");
    let url = |path: &str| format!("https://storage.example.com/{path}");
    let (buckets, own) = (url("buckets"), url("self"));
    let secrets = ["CANARY-google-access-token", "PRIVATE KEY"];
    let called = [
        &["GET", &*buckets][..],
        &["GET", &*buckets],
        &["GET", &*own],
    ];
    let outcomes = calls(&site, &called, &secrets);
    assert_eq!(outcomes[0], (200, json!({ "buckets": [] })), "{outcomes:?}");
    assert_eq!(outcomes[1].0, 200);
    let email = json!({ "self-signed": "robot@project.iam.gserviceaccount.com" });
    assert_eq!(outcomes[2], (200, email), "{outcomes:?}");
    assert_eq!(asked(&site, "/token"), 1);
    site.holds_none_of(&secrets);
}

const GITHUB: &str = r#"
[api]
name = "github"
origin = "https://github.example.com"
credential = "app"

[[tool]]
name = "issues"
request = "GET /repos/{owner}/{repo}/issues"
category = "read"
description = "List issues"

[[tool]]
name = "lock"
request = "DELETE /repos/{owner}/{repo}/issues"
category = "write"
description = "Change issues"
"#;

#[test]
fn an_app_has_a_token_for_each_repository_and_purpose_and_for_no_other() {
    let credentials = r#"
[credentials.app]
kind = "github-app"
app = "Iv23app"
installation = 7
secret = "sealed:app"
api = "https://github.example.com"
repositories = ["acme/*"]
permissions = { read = { issues = "read" }, write = { issues = "write" } }
hosts = ["github.example.com"]
env = "GITHUB_TOKEN"
"#;
    let (site, _server) = site(credentials, &[("github", GITHUB)]);
    seal(&site, "app", "github.pem");
    let url = |repository: &str| format!("https://github.example.com/repos/{repository}/issues");
    let (one, two, foreign) = (url("acme/one"), url("acme/two"), url("evil/one"));
    let secrets = ["ghs_CANARYinstallation", "PRIVATE KEY"];
    let called = [
        &["GET", &*one][..],
        &["GET", &*one],
        &["GET", &*two],
        &["DELETE", &*one],
        &["GET", &*foreign],
    ];
    let outcomes = calls(&site, &called, &secrets);
    let granted = |repository: &str, level: &str| {
        let granted = json!({ "repositories": [repository], "permissions": { "issues": level } });
        (200, json!({ "granted": granted }))
    };
    assert_eq!(outcomes[0], granted("one", "read"), "{outcomes:?}");
    assert_eq!(outcomes[1], granted("one", "read"));
    assert_eq!(outcomes[2], granted("two", "read"));
    assert_eq!(outcomes[3], granted("one", "write"));
    assert_eq!(outcomes[4].0, 403);
    assert_eq!(
        outcomes[4].1["type"], "urn:exeat:reason:scope-missing",
        "{outcomes:?}"
    );
    assert_eq!(asked(&site, "/app/installations/7/access_tokens"), 3);
    site.holds_none_of(&secrets);
}

const SIGNED: &str = r#"
[api]
name = "signed"
origin = "https://signed.example.com"
credential = "bot"

[[tool]]
name = "read"
request = "GET /read"
category = "read"
description = "Read"

[[tool]]
name = "write"
request = "POST /write"
category = "write"
description = "Write"
credential = "shared"
[tool.input.body]
properties = { text = { type = "string" } }
"#;

#[test]
fn signatures_of_requests_are_verified_by_a_library_of_others() {
    let credentials = r#"
[signers.bot]
kind = "software"
secret = "sealed:bot"

[credentials.bot]
kind = "signature"
profile = "web-bot-auth"
agent = "https://bot.example.com"
signer = "bot"
hosts = ["signed.example.com"]

[credentials.shared]
kind = "signature"
secret = "sealed:shared"
key-id = "shared"
hosts = ["signed.example.com"]
"#;
    let (site, _server) = site(credentials, &[("signed", SIGNED)]);
    seal(&site, "bot", "bot.pem");
    site.seal("shared", "CANARY-shared-signing-key");
    let (read, write) = (
        "https://signed.example.com/read",
        "https://signed.example.com/write",
    );
    let called = [
        &["GET", read][..],
        &["POST", write, "{\"text\": \"hello\"}"],
    ];
    let outcomes = calls(
        &site,
        &called,
        &["CANARY-shared-signing-key", "PRIVATE KEY"],
    );
    let covered = |place: usize| outcomes[place].1["covered"].clone();
    assert_eq!(
        covered(0),
        json!(["\"@authority\"", "\"signature-agent\";key=\"sig1\""]),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[0].1["params"]["tag"], "web-bot-auth");
    assert_eq!(
        covered(1),
        json!([
            "\"@authority\"",
            "\"@method\"",
            "\"@target-uri\"",
            "\"content-digest\""
        ]),
        "{outcomes:?}"
    );
    site.holds_none_of(&["CANARY-shared-signing-key"]);
}

const SHOP: &str = r#"
[api]
name = "shop"
origin = "https://shop.example.com"
credential = "licence"

[[tool]]
name = "buy"
request = "GET /buy"
category = "write"
description = "Buy"
"#;

#[test]
fn a_licence_is_shown_with_one_claim_and_a_proof_until_it_is_revoked() {
    let (site, _server) = site("", &[("shop", SHOP)]);
    let key = fs::read_to_string(site.outside("issuers/issuer.jwk")).unwrap();
    let key: Value = serde_json::from_str(&key).unwrap();
    let credentials = format!(
        r#"
[signers.holder]
kind = "software"
secret = "sealed:holder"

[credentials.licence]
kind = "entitlement"
format = "sd-jwt"
issuer = "https://issuer.example.com"
issuer-keys = [{{ kty = "EC", crv = "P-256", x = {}, y = {} }}]
type = "licence"
disclose = ["role"]
secret = "sealed:licence"
signer = "holder"
header = "x-licence"
hosts = ["shop.example.com"]
"#,
        key["x"], key["y"]
    );
    let before = fs::read_to_string(site.file("exeat.toml")).unwrap();
    site.write(
        "exeat.toml",
        &before.replace("[network]", &format!("{credentials}\n[network]")),
    );
    seal(&site, "holder", "holder.pem");
    let licence = seal(&site, "licence", "licence.txt");
    let jwt = licence.split('~').next().unwrap();
    let buy = "https://shop.example.com/buy";
    let outcomes = calls(
        &site,
        &[&["GET", buy], &["GET", buy]],
        &[jwt, "PRIVATE KEY"],
    );
    assert_eq!(outcomes[0].0, 200, "{outcomes:?}");
    assert_eq!(outcomes[0].1["shown"], json!({ "role": "buyer" }));
    assert_ne!(outcomes[0].1["nonce"], outcomes[1].1["nonce"]);

    // The list is good for a second; then it is asked for again.
    fs::write(site.outside("issuers/revoked"), "").unwrap();
    let refused = (0..40).find_map(|_| {
        let (status, body) = calls(&site, &[&["GET", buy]], &[jwt]).remove(0);
        (status == 403).then_some(body)
    });
    let refused = refused.expect("it is still shown");
    assert_eq!(refused["type"], "urn:exeat:reason:credential-dead");
    site.holds_none_of(&[jwt, "CANARY-holder-name"]);
}

#[test]
fn a_licence_is_obtained_from_an_offer_once_and_shown_from_then_on() {
    let site = Site::new(&["vci.example.com", "shop.example.com"]);
    let folder = site.outside("vci");
    let real = real();
    let more = [
        "--real".as_ref(),
        real.as_os_str(),
        "--dir".as_ref(),
        folder.as_os_str(),
    ];
    let server = site.start(node().to_str().unwrap(), "vci_server.mjs", &more);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let key: Value = serde_json::from_str(&read("issuer.jwk")).unwrap();
    site.write("tools/shop.toml", SHOP);
    site.write("policy.toml", POLICY);
    site.write(
        "exeat.toml",
        &format!(
            r#"
[agents.coder]

[signers.holder]
kind = "software"
secret = "sealed:holder"

[credentials.licence]
kind = "entitlement"
format = "sd-jwt"
issuer = "https://vci.example.com"
issuer-keys = [{{ kty = "EC", crv = "P-256", x = {}, y = {} }}]
type = "licence"
client-id = "exeat"
secret = "sealed:offer"
signer = "holder"
hosts = ["shop.example.com"]

[network]
allow-private = ["vci.example.com:443", "shop.example.com:443"]
upstream-roots = ["root.pem"]
connect-to = {{ "vci.example.com:443" = "127.0.0.1:{port}", "shop.example.com:443" = "127.0.0.1:{port}" }}
"#,
            key["x"],
            key["y"],
            port = server.port
        ),
    );
    let holder = rcgen::KeyPair::generate().unwrap().serialize_pem();
    site.seal("holder", &holder);
    site.seal("offer", &read("offer.txt"));
    let buy = "https://shop.example.com/buy";
    let outcomes = calls(&site, &[&["GET", buy], &["GET", buy]], &["PRIVATE KEY"]);
    // Nothing is disclosed that was not declared.
    assert_eq!(outcomes[0], (200, json!({ "claims": [] })), "{outcomes:?}");
    assert_eq!(outcomes[1].0, 200, "{outcomes:?}");
    let taken = seen(&folder.join("seen.log"));
    let taken = |path: &str| taken.iter().filter(|one| one["path"] == path).count();
    assert_eq!(
        (taken("/token"), taken("/credential"), taken("/buy")),
        (1, 1, 2)
    );
}

const REGISTRY: &str = r#"
[api]
name = "registry"
origin = "https://registry.example.com"
credential = "images"

[[tool]]
name = "ping"
request = "GET /v2/"
category = "read"
description = "Ask whether it is a registry"

[[tool]]
name = "manifest"
request = "GET /v2/{owner}/{name}/manifests/{reference}"
category = "read"
description = "Pull a manifest"

[[tool]]
name = "blob"
request = "GET /v2/{owner}/{name}/blobs/{digest}"
category = "read"
description = "Pull a layer"

[[tool]]
name = "begin"
request = "POST /v2/{owner}/{name}/blobs/uploads/"
category = "write"
description = "Begin an upload"
[tool.input.body]
media = "binary"

[[tool]]
name = "upload"
request = "PUT /v2/{owner}/{name}/blobs/uploads/{upload}"
category = "write"
description = "Upload a layer"
[tool.input.query]
required = ["digest"]
properties = { digest = { type = "string" }, _state = { type = "string" } }
[tool.input.body]
media = "binary"

[[tool]]
name = "push"
request = "PUT /v2/{owner}/{name}/manifests/{reference}"
category = "write"
description = "Push a manifest"
[tool.input.body]
media = "binary"
"#;

#[test]
fn an_image_is_pushed_to_a_real_registry_and_pulled_with_tokens_for_just_that() {
    const PASSWORD: &str = "CANARY-registry-password";
    let site = Site::new(&["registry.example.com", "auth.example.com"]);
    let folder = site.outside("registry");
    let more = [
        "--dir".as_ref(),
        folder.as_os_str(),
        "--password".as_ref(),
        PASSWORD.as_ref(),
    ];
    let server = site.start(python().to_str().unwrap(), "registry_server.py", &more);
    let auth = fs::read_to_string(folder.join("auth-port")).unwrap();
    site.write("tools/registry.toml", REGISTRY);
    site.write("policy.toml", POLICY);
    site.write(
        "exeat.toml",
        &format!(
            r#"
[agents.coder]

[credentials.images]
kind = "registry"
username = "puller"
secret = "sealed:images"
realm = "https://auth.example.com/token"
hosts = ["registry.example.com"]

[network]
allow-private = ["registry.example.com:443", "auth.example.com:443"]
upstream-roots = ["root.pem"]
connect-to = {{ "registry.example.com:443" = "127.0.0.1:{}", "auth.example.com:443" = "127.0.0.1:{auth}" }}
"#,
            server.port
        ),
    );
    site.seal("images", PASSWORD);
    let mut agent = site.sealed();
    agent
        .arg(python())
        .arg(programs().join("registry_client.py"));
    let outcomes = site.outcomes(&mut agent, &[PASSWORD]);
    let failed = outcomes
        .iter()
        .find(|one| one["status"].as_u64().unwrap() / 100 != 2);
    assert_eq!(failed, None, "{outcomes:?}");
    let asked = seen(&folder.join("seen.log"));
    assert!(asked.iter().all(|one| one["good"] == true), "{asked:?}");
    let mut scopes: Vec<String> = asked.iter().map(|one| one["scopes"].to_string()).collect();
    scopes.sort();
    assert_eq!(
        scopes,
        [
            "[\"repository:team/app:pull\"]",
            "[\"repository:team/app:pull,push\"]",
            "[]"
        ]
    );
    site.holds_none_of(&[PASSWORD]);
}

const GIT: &str = r#"
[api]
name = "git"
origin = "https://git.example.com"
credential = "app"

[[tool]]
name = "refs"
request = "GET /{owner}/{repo}/info/refs"
category = "read"
description = "List refs"
[tool.input.query]
required = ["service"]
properties = { service = { enum = ["git-upload-pack", "git-receive-pack"] } }

[[tool]]
name = "fetch"
request = "POST /{owner}/{repo}/git-upload-pack"
category = "read"
description = "Fetch or clone"
[tool.input.body]
media = "binary"

[[tool]]
name = "push"
request = "POST /{owner}/{repo}/git-receive-pack"
category = "write"
description = "Push commits"
protocol = "git"
"#;

#[test]
fn git_itself_clones_and_pushes_with_the_token_of_an_app() {
    // Reading and writing need the same here, so that one token does for both.
    let credentials = r#"
[credentials.app]
kind = "github-app"
app = "Iv23app"
installation = 7
secret = "sealed:app"
api = "https://github.example.com"
repositories = ["acme/hello"]
permissions = { read = { contents = "write" }, write = { contents = "write" } }
hosts = ["git.example.com"]
"#;
    const TOKEN: &str = "ghs_CANARYinstallation0";
    let (site, server) = site(credentials, &[("git", GIT)]);
    seal(&site, "app", "github.pem");
    let folder = site.outside("git");
    let login = [
        "--user",
        "x-access-token",
        "--password",
        TOKEN,
        "--repository",
        "acme/hello.git",
    ];
    let mut more = vec![OsStr::new("--dir"), folder.as_os_str()];
    more.extend(login.map(OsStr::new));
    let git = site.start("python3", "git_server/start.py", &more);
    let before = fs::read_to_string(site.file("exeat.toml")).unwrap();
    let route = |port: u16| format!("\"git.example.com:443\" = \"127.0.0.1:{port}\"");
    site.write(
        "exeat.toml",
        &before.replace(&route(server.port), &route(git.port)),
    );
    let mut agent = site.sealed();
    agent.arg("python3").arg(programs().join("git_client.py"));
    agent.args([
        "--url",
        "https://git.example.com/acme/hello.git",
        "--dir",
        "work",
        "clone",
        "push-branch",
    ]);
    let outcomes = site.outcomes(&mut agent, &[TOKEN]);
    assert!(
        outcomes.iter().all(|one| one["status"] == 0),
        "{outcomes:?}"
    );
    assert_eq!(outcomes.len(), 2);
    assert_eq!(asked(&site, "/app/installations/7/access_tokens"), 1);
    site.holds_none_of(&[TOKEN, "PRIVATE KEY"]);
}
