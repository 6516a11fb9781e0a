//! What `exeat.toml` may say, and how each mistake reads.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use exeat_custody::Kind;
use exeat_types::Source;

use super::{Capture, Master, Mode, Settings, files};

/// Checks a text as if it stood in `exeat.toml` of an empty folder.
fn parse(text: &str) -> Result<Settings, String> {
    let source = Source::new("exeat.toml", text);
    Settings::parse(Path::new("exeat.toml"), &source).map_err(|report| report.to_string())
}

/// The messages of a text that must not pass, without their places.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let report = parse(text).unwrap_err();
    let messages: Vec<&str> = report
        .lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .collect();
    assert_eq!(messages, expect, "{report}");
}

#[test]
fn a_whole_file_is_read() {
    let settings = parse(
        r#"
[[listener]]
mode = "explicit"
address = "127.0.0.1:8080"
[[listener]]
mode = "transparent"
address = "0.0.0.0:8081"
agent = "claude"
seal = "gateway"
[metrics]
address = "127.0.0.1:8090"
[ledger]
path = "receipts"
anchor = { command = ["anchor", "--to", "elsewhere"] }
[agents.claude]
groups = ["coding"]
[credentials.github]
kind = "bearer"
secret = "sealed:github"
hosts = ["api.github.com", "https://uploads.github.com:8443"]
env = "GITHUB_TOKEN"
[credentials.search]
kind = "api-key"
query = "key"
secret = "env:SEARCH_KEY"
hosts = ["http://localhost:9000"]
[network]
allow-private = ["localhost:9000"]
connect-to = { "api.github.com:443" = "127.0.0.1:8443" }
[policy]
tools = "declared"
[custody]
master = "keyring"
[data]
folder = "state"
"#,
    )
    .unwrap();
    assert_eq!(settings.listeners.len(), 2);
    assert_eq!(
        (
            settings.listeners[0].mode,
            settings.listeners[0].agent.as_ref()
        ),
        (Mode::Explicit, None)
    );
    assert_eq!(settings.listeners[1].seal, exeat_types::Seal::Gateway);
    assert_eq!(
        settings.credentials["github"].spec.origins[1].to_string(),
        "https://uploads.github.com:8443"
    );
    assert_eq!(settings.credentials["github"].variables, ["GITHUB_TOKEN"]);
    assert!(matches!(
        &settings.credentials["search"].spec.kind,
        Kind::ApiKeyQuery(name) if name == "key"
    ));
    assert_eq!(
        settings.network.connect_to.values().next().unwrap().port(),
        8443
    );
    assert_eq!(settings.policy.tools, Path::new("declared"));
    assert_eq!(settings.policy.file, Path::new("policy.toml"));
    assert_eq!(
        (settings.master, settings.data.as_deref()),
        (Master::Keyring, Some(Path::new("state")))
    );
    assert_eq!(settings.world().agents["claude"], ["coding"]);
}

#[test]
fn the_listeners_of_a_gateway_are_read() {
    let settings = parse(
        r#"
[[listener]]
mode = "transparent"
address = "0.0.0.0:8081"
agent = "claude"
seal = "gateway"
[[listener]]
mode = "transparent"
address = "[::]:8081"
agent = "claude"
seal = "gateway"
capture = "tproxy"
clients = ["10.77.0.0/24", "fd77::/64"]
[[listener]]
mode = "dns"
address = "0.0.0.0:5353"
answers = ["10.77.0.1", "fd77::1"]
[agents.claude]
"#,
    )
    .unwrap();
    let [redirect, tproxy, names] = settings.listeners.as_slice() else {
        panic!("{:?}", settings.listeners)
    };
    assert_eq!(redirect.capture, Capture::Redirect);
    assert!(redirect.clients.is_empty() && redirect.answers.is_empty());
    assert_eq!(tproxy.capture, Capture::Tproxy);
    let clients = ["10.77.0.0/24", "fd77::/64"].map(|text| text.parse().unwrap());
    assert_eq!(tproxy.clients, clients);
    assert_eq!((names.mode, names.agent.as_ref()), (Mode::Dns, None));
    let answers = ["10.77.0.1", "fd77::1"].map(|text| text.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(names.answers, answers);
}

#[test]
fn an_empty_file_opens_nothing() {
    let settings = parse("").unwrap();
    assert!(
        settings.listeners.is_empty()
            && settings.credentials.is_empty()
            && settings.agents.is_empty()
    );
    assert!(settings.network.allow_private.is_empty() && settings.metrics.is_none());
}

#[test]
fn a_console_is_reached_by_a_name_and_never_in_the_clear_over_a_network() {
    let console = parse("[console]\n").unwrap().console.unwrap();
    assert_eq!(console.address.to_string(), "127.0.0.1:8089");
    assert!(console.origin.is_none() && console.tls.is_none());
    check(
        "[console]\norigin = \"http://127.0.0.1:8089\"\n",
        &["the console cannot be there"],
    );
    check(
        "[console]\norigin = \"http://gate.example.com\"\n",
        &["the console cannot be there"],
    );
    check(
        "[console]\naddress = \"0.0.0.0:8089\"\n",
        &["the console would cross a network in the clear"],
    );
}

#[test]
fn unknown_keys_and_sections_of_later_versions_refuse() {
    check("[agent.claude]\n", &["unknown key `agent`"]);
    check("[mcp]\n", &["`[mcp]` cannot be used"]);
    check("[agents.claude]\ngruops = []\n", &["unknown key `gruops`"]);
    check(
        "[agents.Claude]\n",
        &[
            "agent: expected lower-case letters, digits, `-` and `_`, beginning with a letter or digit",
        ],
    );
}

#[test]
fn listeners_that_would_widen_access_refuse() {
    check(
        "[[listener]]\nmode = \"transparent\"\naddress = \"127.0.0.1:1\"\n",
        &["a transparent listener must name its agent"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\nseal = \"gateway\"\n",
        &["a gateway listener must name its agent"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"0.0.0.0:8080\"\n",
        &["this listener would carry agent tokens over the network in the clear"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\nagent = \"cluade\"\n[agents.claude]\n",
        &["unknown agent `cluade`"],
    );
    let twice = "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:8080\"\n".repeat(2);
    check(
        &twice,
        &["`127.0.0.1:8080` is already taken by a listener above"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\ncapture = \"tproxy\"\n",
        &["`capture` belongs to a transparent listener"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\nclients = []\n",
        &["no client could ever come in"],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\nclients = [\"10.77.0.1/24\", \"all\"]\n",
        &[
            "prefix: the address has bits beyond the prefix",
            "prefix: expected an address and the length of its prefix, such as `10.77.0.0/24`",
        ],
    );
    check(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:1\"\nanswers = [\"10.0.0.1\"]\n",
        &["`answers` belongs to a dns listener"],
    );
    check(
        "[[listener]]\nmode = \"dns\"\naddress = \"127.0.0.1:1\"\nanswers = [\"10.0.0.1\", \"10.0.0.2\"]\n",
        &["one address of each family can be given"],
    );
    check(
        "[[listener]]\nmode = \"dns\"\naddress = \"0.0.0.0:53\"\nagent = \"claude\"\nseal = \"gateway\"\n[agents.claude]\n",
        &[
            "a dns listener has no `agent`",
            "a dns listener has no `seal`",
        ],
    );
    check(
        "[metrics]\naddress = \"0.0.0.0:9\"\n",
        &["metrics are served without authentication"],
    );
}

#[test]
fn credentials_that_cannot_work_refuse() {
    let credential = |body: &str| format!("[credentials.a]\n{body}\n");
    check(
        &credential("kind = \"bearer\"\nsecret = \"sealed:a\"\nhosts = []"),
        &["a credential without hosts can never be used"],
    );
    check(
        &credential("kind = \"bearer\"\nsecret = \"sealed:a\"\nhosts = [\"http://a.example\"]"),
        &["this credential would travel in the clear"],
    );
    check(
        &credential("kind = \"api-key\"\nsecret = \"sealed:a\"\nhosts = [\"a.example\"]"),
        &["an API key needs `header` or `query`"],
    );
    check(
        &credential(
            "kind = \"bearer\"\nheader = \"x\"\nsecret = \"sealed:a\"\nhosts = [\"a.example\"]",
        ),
        &["unknown key `header`"],
    );
    check(
        &credential("kind = \"bearer\"\nsecret = \"sealed:a\"\nhosts = [\"127.1\", \"a/b\"]"),
        &[
            "host: a numeric host must be four decimal numbers, such as 192.0.2.1",
            "host: expected dot-separated labels of letters, digits, `-` and `_`",
        ],
    );
}

#[test]
fn the_ways_out_are_read() {
    let settings = parse(
        r#"
[agents.claude]
[credentials.corp]
kind = "basic"
username = "gate"
secret = "sealed:corp"
hosts = ["http://proxy.corp.example:3128"]
[network]
allow-private = ["proxy.corp.example:3128"]
upstream-proxy = "http://proxy.corp.example:3128"
upstream-proxy-credential = "corp"
upstream-proxy-bypass = ["wiki.corp.example", "192.0.2.1"]
passthrough = ["pinned.example:443", { target = "other.example:8443", agents = ["claude"] }]
"#,
    )
    .unwrap();
    let proxy = settings.network.upstream_proxy.as_ref().unwrap();
    assert_eq!(proxy.origin.to_string(), "http://proxy.corp.example:3128");
    assert_eq!(proxy.credential.as_ref().unwrap().as_str(), "corp");
    assert_eq!(proxy.bypass.len(), 2);
    let warnings = settings.network.warnings();
    assert_eq!(
        warnings,
        [
            "TLS of claude to other.example:8443 passes unread: no tool, no rule, no redaction",
            "TLS of every agent to pinned.example:443 passes unread: no tool, no rule, no redaction",
        ]
    );
}

#[test]
fn what_passes_unread_is_exact_known_and_never_where_a_credential_goes() {
    check(
        "[credentials.a]\nkind = \"bearer\"\nsecret = \"sealed:a\"\nhosts = [\"a.example\"]\n\
         [network]\npassthrough = [\"a.example:443\"]\n",
        &["`a.example:443` cannot pass unread: the credential `a` is bound to it"],
    );
    check(
        "[network]\npassthrough = [\"a.example\", \"*.a.example:443\"]\n",
        &[
            "endpoint: expected `host:port` with the port written",
            "host: expected dot-separated labels of letters, digits, `-` and `_`",
        ],
    );
    check(
        "[agents.claude]\n[network]\npassthrough = [{ target = \"a.example:443\", agents = [\"cluade\"] }]\n",
        &["unknown agent `cluade`"],
    );
    check(
        "[network]\npassthrough = [{ target = \"a.example:443\", agents = [] }]\n",
        &["nobody may use this"],
    );
    check(
        "[network]\npassthrough = [\"a.example:443\", { target = \"A.example:443\" }]\n",
        &["this target stands here twice"],
    );
    check(
        "[network]\npassthrough = [{ host = \"a.example:443\" }]\n",
        &["missing key `target`", "unknown key `host`"],
    );
}

#[test]
fn an_upstream_proxy_that_cannot_work_refuses() {
    let proxied = |rest: &str| {
        format!(
            "[credentials.key]\nkind = \"bearer\"\nsecret = \"sealed:key\"\nhosts = [\"a.example\"]\n\
             [network]\nupstream-proxy = \"http://proxy.example:3128\"\n{rest}\n"
        )
    };
    check(
        &proxied("upstream-proxy-credential = \"other\""),
        &["unknown credential `other`"],
    );
    check(
        &proxied("upstream-proxy-credential = \"key\""),
        &[
            "`key` is not of the kind `basic`",
            "`key` is not bound to http://proxy.example:3128",
        ],
    );
    check(
        "[network]\nupstream-proxy = \"https://proxy.example\"\n",
        &["a proxy that is itself reached over TLS cannot be used"],
    );
    check(
        "[network]\nupstream-proxy = \"http://10.0.0.9:3128\"\n",
        &["this address is not public, so it would be refused"],
    );
    check(
        "[network]\nupstream-proxy-credential = \"a\"\nupstream-proxy-bypass = [\"b.example\"]\n",
        &["there is no `upstream-proxy` that this could be about"; 2],
    );
    for text in [
        "[network]\nupstream-proxy = \"http://gate:CANARY-proxy-1@proxy.example:3128\"\n",
        "network = { upstream-proxy = \"http://CANARY-proxy-2:x@proxy.example:3128\" }\n",
        "[network]\nupstream-proxy = 'http://gate:CANARY@-proxy-3@proxy.example:3128' nonsense\n",
    ] {
        let report = parse(text).unwrap_err();
        assert!(!report.contains("CANARY"), "{report}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_repeated() {
    for text in [
        "[credentials.a]\nkind = \"bearer\"\nhosts = [\"a.example\"]\nsecret = \"CANARY-settings-1\"\n",
        "[credentials.a]\nkind = \"bearer\"\nhosts = [\"a.example\"]\ntoken = 'CANARY-settings-2'\n",
        "[credentials]\na = { kind = \"bearer\", hosts = [], secret = \"CANARY-settings-3\" }\n",
        "[credentials.a]\nsecret = CANARY-settings-4\n",
        "[credentials.a]\nvalue = [\"CANARY-settings-5\"]\n",
        "[vault]\naddress = \"https://v.example\"\nsecret = \"CANARY-settings-6\"\n",
        "vault = { address = \"https://v.example\", secret = 'CANARY-settings-7' }\n",
        "vault.address = \"https://v.example\"\nvault.secret = \"CANARY-settings-8\"\n",
        "[vault]\n\"secret\" = \"CANARY-settings-9\"\ntoken = \"CANARY-settings-9\"\n",
        "vault = { \"secret\" = \"CANARY-settings-10\", address = \n",
        "[signers]\na = { kind = \"software\", secret = \"CANARY-settings-11\" }\n",
        "signers.a.\"secret\" = \"CANARY-settings-12\"\nsigners.a.kind = \"software\"\n",
        "[signers.a.more]\nx = \"CANARY-settings-13\"\n",
        "[custody]\nmaster = \"pkcs11\"\npkcs11 = { pin = \"CANARY-settings-14\" }\n",
        "custody.pkcs11.\"pin\" = \"CANARY-settings-15\"\n",
        "[agents.a]\ntoken = \"CANARY-settings-16\"\n",
        "[credentials.a.more]\nx = \"CANARY-settings-17\"\n",
        "[credentials.a]\nkind = \"oauth\"\ngrant = \"authorization-code\"\nclient-id = \"c\"\nauth = \"none\"\n\
         authorization-parameters = { client_secret = \"CANARY-settings-18\" }\n",
        "[credentials.a]\nkind = \"oauth\"\ngrant = \"token-exchange\"\nclient-id = \"c\"\nauth = \"none\"\n\
         subject-token = \"CANARY-settings-19\"\n",
        "vault.secret = \"\"\"\nCANARY-settings-20\n\"\"\"\n[\n",
    ] {
        let report = parse(text).unwrap_err();
        assert!(!report.contains("CANARY"), "{report}");
    }
    let shown = parse(
        "[credentials.a]\nkind = \"bearer\"\nhosts = [\"a.example\"]\nsecret = \"CANARY-settings-1\"\n",
    );
    insta::assert_snapshot!(shown.unwrap_err(), @r#"
    error: a secret does not belong in this file
     --> exeat.toml:4:10
      |
    4 | secret = "*****************"
      |          ^^^^^^^^^^^^^^^^^^^ not shown
      = help: store it with `exeat secret set NAME` and write `secret = "sealed:NAME"`
    "#);
}

#[test]
fn certificates_that_cannot_be_read_refuse() {
    let listener = |tls: &str| {
        format!("[[listener]]\nmode = \"explicit\"\naddress = \"0.0.0.0:8080\"\ntls = {tls}\n")
    };
    let absent = listener("{ cert = \"absent.pem\", key = \"absent.key\" }");
    let report = parse(&absent).unwrap_err();
    assert!(
        report.contains("cannot read `absent.pem`") && report.contains("cannot read `absent.key`"),
        "{report}"
    );
    check(
        &listener("{ cert = \"absent.pem\" }"),
        &["missing key `key`"],
    );
    let place = tempfile::tempdir().unwrap();
    let empty = place.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let roots = format!("[network]\nupstream-roots = [\"{}\"]\n", empty.display());
    let report = parse(&roots).unwrap_err();
    assert!(report.contains("no certificate in it"), "{report}");
}

#[test]
fn every_problem_is_told_at_once() {
    check(
        "[ledger]\nanchor = {}\n[custody]\nmaster = \"tmp\"\n[network]\nallow-private = [\"localhost\"]\n",
        &[
            "endpoint: expected `host:port` with the port written",
            "an anchor has either `file` or `command`",
            "expected one of `key-file`, `passphrase`, `keyring`, `tpm`, `pkcs11`, got `tmp`",
        ],
    );
}

#[test]
fn files_that_others_may_change_refuse() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("exeat.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    let refused = Settings::load(&file).unwrap_err().to_string();
    assert!(
        refused.contains("can be changed by others (mode 664)"),
        "{refused}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let settings = Settings::load(&file).unwrap();
    let missing = files::read_sources(&settings.policy)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("policy.toml") && missing.contains("cannot read the folder"),
        "{missing}"
    );
    let absent = Settings::load(&place.path().join("none.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        absent.contains("`exeat init` writes a first one"),
        "{absent}"
    );
}

#[test]
fn tool_files_are_read_in_the_order_of_their_names() {
    let place = tempfile::tempdir().unwrap();
    let tools = place.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for name in [
        "b.toml",
        "a.toml",
        ".hidden.toml",
        "extra.cedar",
        "notes.md",
    ] {
        fs::write(tools.join(name), "").unwrap();
    }
    fs::write(place.path().join("policy.toml"), "").unwrap();
    let config = place.path().join("exeat.toml");
    fs::write(&config, "").unwrap();
    let sources = files::read_sources(&Settings::load(&config).unwrap().policy).unwrap();
    let names: Vec<_> = sources
        .tools
        .iter()
        .map(|source| source.name.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a.toml", "b.toml"]);
    assert_eq!((sources.policy.len(), sources.cedar.len()), (1, 1));
}
