//! `exeat doctor`, in a network namespace without any route, so that a seal that fails sends nothing anywhere.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::{Place, text};

/// A user without any privilege.
const NOBODY: u32 = 12345;
const CONFIG: &str = r#"
[[listener]]
mode = "explicit"
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[agents.claude]
"#;
const TOOLS: &str = r#"
[api]
name = "cloud"
origin = "http://169.254.169.254"
[[tool]]
name = "look"
request = "GET /latest/meta-data/"
category = "read"
description = "Ask the machine's cloud"
"#;
const POLICY: &str = "[[rule]]\nname = \"look\"\nagents = [\"claude\"]\ntools = [\"cloud.look\"]\neffect = \"allow\"\n";
/// What is tried, at the least; more may come.
const TRIED: [&str; 53] = [
    "kernel-seals",
    "clock",
    "sandbox",
    "network-devices",
    "loopback-tcp",
    "loopback-udp",
    "unix-abstract",
    "tcp-ipv4",
    "tcp-ipv6",
    "tcp-ports",
    "udp",
    "quic",
    "dns-over-tls",
    "dns-udp",
    "dns-tcp",
    "dns-over-https",
    "icmp-raw",
    "icmp-ping",
    "vsock",
    "packet-sockets",
    "socket-families",
    "netlink",
    "foreign-system-calls",
    "io-uring",
    "kernel-keyrings",
    "bpf",
    "perf-events",
    "userfaultfd",
    "mount",
    "new-namespaces",
    "terminal-injection",
    "namespaces",
    "privileges",
    "proc",
    "proc-init",
    "proc-gate",
    "ptrace-gate",
    "signal-gate",
    "setns",
    "data-folder",
    "unix-sockets",
    "runtime-sockets",
    "credentials",
    "kept-files",
    "descriptors",
    "environment",
    "raw-addresses",
    "connect-ports",
    "gate-ports",
    "metadata",
    "nested-connect",
    "host-mismatch",
    "dns-rebinding",
];

/// A place and a way to run the binary there as some user, cut off from every network.
struct Cut {
    place: Place,
    user: Option<u32>,
    program: PathBuf,
}

impl Cut {
    fn new(user: Option<u32>, files: &[(&str, &str)]) -> Self {
        let place = Place::with(files);
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_exeat"));
        if let Some(user) = user {
            let copy = place.path().join("exeat");
            fs::copy(&program, &copy).unwrap();
            program = copy;
            for path in files.iter().map(|(name, _)| place.path().join(name)) {
                chown(path, Some(user), Some(user)).unwrap();
            }
            chown(place.path(), Some(user), Some(user)).unwrap();
        }
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            place,
            user,
            program,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = "ip link set lo up && exec \"$0\" \"$@\"";
        let number = self.user.unwrap_or_default().to_string();
        let become_user = [
            "setpriv",
            "--reuid",
            &number,
            "--regid",
            &number,
            "--clear-groups",
        ];
        let mut words = Vec::new();
        words.extend(self.user.map(|_| become_user).into_iter().flatten());
        words.extend(["unshare", "-n", "--map-current-user", "--keep-caps"]);
        words.extend(["sh", "-c", script, self.program.to_str().unwrap()]);
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.place.path())
            .env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command
            .env("HOME", self.place.path())
            .env("EXEAT_DATA", self.place.data());
        if self.place.path().join("exeat.toml").exists() {
            command.env("EXEAT_CONFIG", "exeat.toml");
        }
        command.output().unwrap()
    }

    /// Each check by its id.
    fn examine(&self) -> (Option<i32>, Vec<Value>) {
        let output = self.run(&["--json", "doctor"]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let found: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        let checks = found["checks"].as_array().unwrap().clone();
        (output.status.code(), checks)
    }

    /// What the ledger says of the last examination.
    fn recorded(&self) -> Value {
        let exported = self.run(&["receipt", "export"]);
        let lines = text(&exported.stdout);
        let records = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut tests: Vec<Value> = records
            .filter_map(|record| find(&record, "passed").cloned())
            .collect();
        tests.pop().unwrap_or_else(|| panic!("{lines}"))
    }
}

/// The innermost object that has a member of this name.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) if members.contains_key(name) => Some(value),
        Value::Object(members) => members.values().find_map(|member| find(member, name)),
        _ => None,
    }
}

#[track_caller]
fn all_closed(user: Option<u32>) {
    let cut = Cut::new(user, &[("exeat.toml", CONFIG), ("policy.toml", "")]);
    fs::create_dir(cut.place.path().join("tools")).unwrap();
    let (code, checks) = cut.examine();
    let open: Vec<&Value> = checks
        .iter()
        .filter(|check| check["state"] != "closed")
        .collect();
    assert!(open.is_empty(), "{open:#?}");
    assert_eq!(code, Some(0));
    let ids: Vec<&str> = checks
        .iter()
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    let told = include_str!("../../../docs/DOCTOR.md");
    for id in &ids {
        assert!(
            told.contains(&format!("`{id}`")),
            "docs/DOCTOR.md does not tell of `{id}`"
        );
    }
    let missing: Vec<&str> = TRIED.into_iter().filter(|id| !ids.contains(id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let record = cut.recorded();
    assert_eq!(
        (&record["agent"], &record["failed"]),
        (&"claude".into(), &Value::Array(Vec::new()))
    );
    assert!(record["passed"].as_array().unwrap().len() >= TRIED.len());
}

#[test]
fn everything_is_closed_for_whoever_runs_the_tests() {
    all_closed(None);
}

#[test]
fn everything_is_closed_for_an_ordinary_user() {
    if rustix::process::getuid().is_root() {
        all_closed(Some(NOBODY));
    } else {
        all_closed(None);
    }
}

#[test]
fn without_a_configuration_a_gate_is_made_for_the_purpose() {
    let cut = Cut::new(None, &[]);
    let output = cut.run(&["doctor"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(out.contains("checks, all closed"), "{out}");
    assert!(!out.contains('\x1b'), "colours are for terminals: {out}");
    assert!(
        !cut.place.data().exists(),
        "nothing of the operator's was made"
    );
}

#[test]
fn a_way_that_the_operator_opened_is_found_named_and_recorded() {
    let open = "[network]\nallow-private = [\"169.254.169.254:80\"]\n\
                connect-to = { \"169.254.169.254:80\" = \"127.0.0.1:9\" }\n";
    let files = [
        ("exeat.toml", format!("{CONFIG}{open}")),
        ("tools/cloud.toml", TOOLS.to_owned()),
        ("policy.toml", POLICY.to_owned()),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let cut = Cut::new(None, &files);
    let output = cut.run(&["doctor"]);
    let out = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{out}{}",
        text(&output.stderr)
    );
    let line = out.lines().find(|line| line.starts_with("OPEN")).unwrap();
    assert!(
        line.contains("metadata") && line.contains("upstream-unreachable"),
        "{out}"
    );
    assert!(out.contains("take that host out of your tools"), "{out}");
    assert!(out.contains("checks, 1 open"), "{out}");
    assert_eq!(
        cut.recorded()["failed"],
        Value::Array(vec!["metadata".into()])
    );
}
