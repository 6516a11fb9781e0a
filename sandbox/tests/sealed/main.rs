//! Whole sandboxes on this machine, as whoever runs the tests and, for root, also as an ordinary user.
//!
//! This program is everything in turn: the tests, the stages of the sandbox, a caller that can be killed, and the
//! command inside that tries what it must not be able to do (`probe.rs`).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

mod ends;
mod filesystem;
mod home;
mod kernel;
mod outside;
mod probe;
mod terminal;
mod tool;

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, ExitCode},
};

use outside::{Sealed, me, plan, seal, seal_with};
use rustix::process::getuid;

type Test = (&'static str, fn());

const TESTS: [Test; 15] = [
    (
        "any_address_leads_to_the_listeners_and_keeps_its_name",
        any_address_leads_to_the_listeners,
    ),
    (
        "every_other_port_is_refused_at_once",
        every_other_port_is_refused,
    ),
    (
        "no_raw_socket_and_no_other_device_exists",
        no_raw_socket_and_no_other_device,
    ),
    (
        "allowed_names_resolve_to_our_addresses_and_others_not_at_all",
        names_resolve_inside,
    ),
    (
        "the_command_has_no_capability_and_gets_none_back",
        the_command_has_no_capability,
    ),
    (
        "other_processes_cannot_be_seen_and_not_be_signalled",
        other_processes_cannot_be_seen,
    ),
    (
        "hidden_paths_and_runtime_sockets_are_gone",
        hidden_paths_are_gone,
    ),
    (
        "a_nested_namespace_uncovers_nothing",
        a_nested_namespace_uncovers_nothing,
    ),
    (
        "kernel_settings_cannot_be_changed",
        kernel_settings_cannot_be_changed,
    ),
    ("only_harmless_devices_exist", only_harmless_devices),
    (
        "the_command_gets_its_files_and_exactly_its_environment",
        files_and_environment,
    ),
    (
        "no_open_file_of_the_caller_reaches_the_command",
        no_open_file_is_inherited,
    ),
    ("two_sandboxes_do_not_meet", two_sandboxes_do_not_meet),
    (
        "a_terminal_is_relayed_and_not_shared",
        terminal::a_terminal_is_relayed,
    ),
    (
        "a_stopped_command_stops_the_job_and_goes_on_with_it",
        terminal::a_stopped_command_stops_the_job,
    ),
];

fn main() -> ExitCode {
    if let Some(code) = exeat_sandbox::enter(std::env::args_os()) {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["probe", rest @ ..] => probe::run(rest),
        ["protect"] => ends::protect(),
        ["run", rest @ ..] => outside::run_and_wait(rest),
        _ => run_tests(&words),
    }
}

fn run_tests(words: &[&str]) -> ExitCode {
    let filter = words.iter().copied().find(|word| !word.starts_with('-'));
    let uid = getuid();
    let place = home::place(words);
    home::PLACE.get_or_init(|| place.path().to_path_buf());
    let (mut passed, mut failed) = (0_u32, 0_u32);
    let tests = TESTS
        .iter()
        .chain(&ends::TESTS)
        .chain(&filesystem::TESTS)
        .chain(&kernel::TESTS)
        .chain(&tool::TESTS);
    for (name, test) in tests.copied() {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
        passed += u32::from(ok);
        failed += u32::from(!ok);
        println!(
            "test {name} (uid {}) ... {}",
            uid.as_raw(),
            if ok { "ok" } else { "FAILED" }
        );
    }
    if uid.is_root() && !run_as_ordinary_user(filter) {
        failed += 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The same tests once more for a user without any privilege.
fn run_as_ordinary_user(filter: Option<&str>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("sealed");
    fs::copy(me(), &copy).unwrap();
    let place = tempfile::tempdir_in("/var").unwrap();
    std::os::unix::fs::chown(place.path(), Some(12345), Some(12345)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
        .arg(&copy)
        .arg(format!("{}{}", home::OPTION, place.path().display()))
        .args(filter);
    command.current_dir("/").status().unwrap().success()
}

fn any_address_leads_to_the_listeners() {
    for address in [
        "203.0.113.9:80",
        "169.254.169.254:80",
        "198.18.3.4:443",
        "[2001:db8::5]:443",
    ] {
        let sealed = seal(&["probe", "connect", address]);
        assert_eq!(sealed.text, format!("local {address}\n"), "{address}");
    }
    let sealed = seal(&["probe", "connect", "127.0.0.1:3128"]);
    assert_eq!(
        (sealed.text.as_str(), sealed.code),
        ("local 127.0.0.1:3128\n", 0)
    );
}

fn every_other_port_is_refused() {
    for address in [
        "203.0.113.9:8080",
        "[2001:db8::5]:22",
        "127.0.0.1:22",
        "8.8.8.8:853",
        "203.0.113.9:3128",
    ] {
        assert_eq!(
            seal(&["probe", "connect", address]).text,
            "connection refused\n",
            "{address}"
        );
    }
    for address in ["203.0.113.9:443", "[2001:db8::5]:443", "8.8.8.8:9999"] {
        assert_eq!(
            seal(&["probe", "udp", address]).text,
            "connection refused\n",
            "{address}"
        );
    }
}

fn no_raw_socket_and_no_other_device() {
    assert_eq!(
        seal(&["probe", "raw"]).text,
        "icmp refused\npacket refused\n"
    );
    assert_eq!(seal(&["probe", "devices"]).text, "lo\n");
}

fn names_resolve_inside() {
    assert_eq!(
        seal(&["probe", "resolve", "api.example"]).text,
        "198.18.0.1\n"
    );
    assert_eq!(
        seal(&["probe", "resolve", "CANARY-sandbox-3.evil.test"]).text,
        "no address\n"
    );
    assert_eq!(
        seal(&["probe", "fetch", "api.example"]).text,
        "local 198.18.0.1:443\nfor api.example\n"
    );
    // Another server, and TCP, lead to the same answers.
    for how in ["query-udp", "query-tcp"] {
        assert_eq!(
            seal(&["probe", how, "8.8.8.8:53"]).text,
            "answers 1\n",
            "{how}"
        );
    }
}

fn the_command_has_no_capability() {
    let nothing = "CapInh 0000000000000000\nCapPrm 0000000000000000\nCapEff 0000000000000000\n\
                   CapBnd 0000000000000000\nCapAmb 0000000000000000\nNoNewPrivs 1\n";
    assert_eq!(seal(&["probe", "status"]).text, nothing);
    let user = format!(
        "{} {}\n",
        getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    assert_eq!(
        seal_with("sh", &["-c", "echo $(id -u) $(id -g)"]).text,
        user
    );
    assert_ne!(seal_with("sh", &["-c", "mount -t tmpfs none /mnt"]).code, 0);
}

fn other_processes_cannot_be_seen() {
    let sealed = seal(&["probe", "processes"]);
    assert_eq!(
        sealed.text, "1\n2\n",
        "only the first process and the command"
    );
    // Process 1 gives away neither its environment nor its memory.
    for file in ["environ", "mem", "fd/0"] {
        let path = format!("/proc/1/{file}");
        assert_ne!(seal_with("cat", &[&path]).code, 0, "{path}");
    }
    // A signal to the process group ends the command and nobody outside.
    assert_eq!(seal_with("sh", &["-c", "kill -TERM 0; sleep 60"]).code, 143);
    let mine = std::process::id().to_string();
    assert_ne!(seal_with("kill", &["-0", &mine]).code, 0);
}

fn hidden_paths_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("exeat.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "CANARY-sandbox-4").unwrap();
    let stray = Path::new("/tmp").join(format!("ssh-exeat-{}", std::process::id()));
    fs::create_dir(&stray).unwrap();
    fs::write(stray.join("agent"), "").unwrap();
    let script = format!(
        "ls -A {}; cat {}; ls -A {}; ls /run; ls -A $XDG_RUNTIME_DIR; ls -A /dev/shm; cat /etc/resolv.conf",
        folder.path().display(),
        file.path().display(),
        stray.display()
    );
    let mut plan = plan("sh", &["-c", &script]);
    let runtime = format!("/run/user/{}", getuid().as_raw());
    plan.env.push(("XDG_RUNTIME_DIR".into(), runtime.into()));
    plan.hide = vec![
        folder.path().to_owned(),
        file.path().to_owned(),
        "/no/such/path".into(),
    ];
    let sealed = Sealed::run(plan);
    fs::remove_dir_all(&stray).unwrap();
    drop(listener);
    let lines: Vec<&str> = sealed
        .text
        .lines()
        .filter(|line| !matches!(*line, "shm" | "current-system"))
        .collect();
    assert_eq!(lines, ["exeat", "lock", "user", "nameserver 127.0.0.1"]);
}

fn a_nested_namespace_uncovers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), "CANARY-sandbox-5").unwrap();
    let path = folder.path().display();
    let script = format!(
        "unshare -Urm sh -c 'umount {path}; umount /run/exeat; umount /run; cat {path}/secret; ls /run/exeat'; \
         cat {path}/secret"
    );
    let mut plan = plan("sh", &["-c", &script]);
    plan.hide = vec![folder.path().to_owned()];
    let sealed = Sealed::run(plan);
    assert!(!sealed.text.contains("CANARY"), "{}", sealed.text);
    assert!(
        sealed.text.is_empty() || sealed.text == "ca.pem\nresolv.conf\n",
        "{}",
        sealed.text
    );
    // A user namespace of its own would give the command every capability again.
    assert_ne!(seal_with("unshare", &["-U", "true"]).code, 0);
}

fn kernel_settings_cannot_be_changed() {
    for file in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
    ] {
        assert_ne!(
            seal_with("sh", &["-c", &format!(": >> {file}")]).code,
            0,
            "{file}"
        );
    }
    let script = "for folder in /sys /sys/fs/cgroup /sys/fs/cgroup/*; do test -w $folder && echo $folder; done; true";
    assert_eq!(seal_with("sh", &["-c", script]).text, "");
}

fn only_harmless_devices() {
    let computers = ["dri", "kfd", "nvidia", "accel"];
    let listed = seal_with("ls", &["/dev"]).text;
    let lines = listed
        .lines()
        .filter(|line| !computers.iter().any(|start| line.starts_with(start)));
    let devices: Vec<&str> = lines.filter(|line| *line != "mqueue").collect();
    let expect = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(devices.join(" "), expect);
    let script = "echo x > /dev/null && head -c 4 /dev/urandom | wc -c && echo y > /dev/shm/y && ls /dev/pts";
    assert_eq!(seal_with("sh", &["-c", script]).text, "4\nptmx\n");
}

fn files_and_environment() {
    let mut plan = plan(
        "sh",
        &[
            "-c",
            "cat /run/exeat/ca.pem; env; (: > /run/exeat/ca.pem) || echo closed; \
             cat /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt 2> /dev/null | sort -u",
        ],
    );
    plan.env = vec![
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("MINE".into(), "old".into()),
    ];
    let sealed = Sealed::run_with(plan, vec![("MINE".into(), "new".into())]);
    let mut lines: Vec<&str> = sealed
        .text
        .lines()
        .filter(|line| !line.starts_with("_="))
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "CA",
            "MINE=new",
            "PATH=/usr/bin:/bin",
            "PWD=/tmp",
            "ROOTS",
            "closed"
        ]
    );
}

fn no_open_file_is_inherited() {
    let script = "exec 7</etc/passwd 9>/dev/null; exec \"$0\" run probe descriptors";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(me())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n");
}

fn two_sandboxes_do_not_meet() {
    std::thread::scope(|scope| {
        let seal = || seal(&["probe", "meet", "127.0.0.1:5000"]);
        let both = [scope.spawn(seal), scope.spawn(seal)];
        for one in both {
            // Each binds the same port and finds only itself behind it.
            assert_eq!(one.join().unwrap().text, "bound\nlocal 203.0.113.1:80\n");
        }
    });
}
