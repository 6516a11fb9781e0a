//! The sandbox of a tool: nothing but what was granted, no network, and an end that takes everything along.

use std::{
    fs::{self, File},
    io::{Read as _, pipe},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

use exeat_sandbox::{Narrow, Sandbox, Streams, ToolPlan};

use crate::{Test, outside::me};

pub(crate) const TESTS: [Test; 7] = [
    (
        "a_tool_sees_the_system_and_what_was_granted_and_nothing_else",
        sees_what_was_granted,
    ),
    (
        "a_tool_writes_only_where_it_was_granted_and_not_to_what_others_run",
        writes_where_granted,
    ),
    (
        "no_link_leads_a_tool_out_of_what_was_granted",
        no_link_leads_out,
    ),
    ("a_tool_reaches_nothing", reaches_nothing),
    (
        "a_tool_has_no_capability_and_exactly_its_environment",
        has_no_capability,
    ),
    (
        "a_tool_that_takes_too_long_ends_with_all_it_started",
        ends_with_all_it_started,
    ),
    (
        "a_tool_that_multiplies_meets_a_bound",
        multiplying_meets_a_bound,
    ),
];

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

struct Ran {
    text: String,
    code: Option<i32>,
}

fn run(argv: &[&str], narrow: Narrow, time: Duration) -> Ran {
    let (mut reader, writer) = pipe().unwrap();
    let null = || File::options().read(true).write(true).open("/dev/null");
    let plan = ToolPlan {
        argv: argv.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        hide: Vec::new(),
        narrow,
        keep: Vec::new(),
        workdir: "/".into(),
        exe: "/proc/self/exe".into(),
        streams: Streams {
            stdin: null().unwrap().into(),
            stdout: writer.try_clone().unwrap().into(),
            stderr: writer.into(),
        },
    };
    let (listeners, prepared) = Sandbox::start_tool(plan).unwrap();
    drop(listeners);
    let running = prepared.go(Vec::new(), Vec::new()).unwrap();
    let waiting = std::thread::spawn(move || running.wait_for(time).unwrap());
    let mut text = String::new();
    // Ends once nothing inside is left that could write.
    reader.read_to_string(&mut text).unwrap();
    Ran {
        text,
        code: waiting.join().unwrap(),
    }
}

fn shell(script: &str, read: &[&Path], write: &[&Path]) -> Ran {
    let own = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect();
    let narrow = Narrow {
        read: own(read),
        write: own(write),
    };
    run(&["sh", "-c", script], narrow, LONG)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(folder.path()).unwrap();
    (folder, path)
}

fn sees_what_was_granted() {
    let ((_one, granted), (_two, other)) = (folder(), folder());
    for path in [&granted, &other] {
        fs::write(path.join("file"), "CANARY-tool-1").unwrap();
    }
    let (granted, other) = (granted.display(), other.display());
    let script = format!(
        "cat {granted}/file; echo; cat {other}/file; ls /home /root /opt /srv /mnt; cat /etc/shadow; \
         ls /run /var/tmp; ls -d /proc/[0-9]*; ls / | grep -vx -e lib32 -e lib64 -e nix -e gnu"
    );
    let ran = shell(&script, &[Path::new(&granted.to_string())], &[]);
    let good: Vec<&str> = ran
        .text
        .lines()
        .filter(|line| !line.contains("No such file") && !line.starts_with("/proc/"))
        .collect();
    assert_eq!(good.first(), Some(&"CANARY-tool-1"), "{}", ran.text);
    assert_eq!(ran.text.matches("CANARY").count(), 1, "{}", ran.text);
    assert!(!ran.text.contains("root:"), "{}", ran.text);
    let top = [
        "bin", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "tmp", "usr", "var",
    ];
    assert!(good.ends_with(&top), "{}", ran.text);
    assert!(
        good.contains(&"exeat") || good.contains(&"/run:"),
        "{}",
        ran.text
    );
}

fn writes_where_granted() {
    let ((_one, read), (_two, write)) = (folder(), folder());
    fs::write(read.join("file"), "before").unwrap();
    fs::create_dir_all(write.join(".git/hooks")).unwrap();
    fs::write(write.join(".git/config"), "").unwrap();
    fs::write(write.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::create_dir_all(write.join(".git/objects")).unwrap();
    fs::create_dir_all(write.join(".git/refs")).unwrap();
    let (r, w) = (read.display(), write.display());
    let script = format!(
        "echo x > {r}/file; echo x > {r}/new; rm {r}/file; mount -o remount,rw {r}; echo x > {r}/file; \
         echo x > /usr/exeat-test; echo x > /etc/exeat-test; echo x > /exeat-test; \
         echo x > {w}/.git/hooks/post-commit; mv {w}/.git {w}/git; \
         echo done > {w}/new; echo t > /tmp/private && cat /tmp/private"
    );
    let ran = shell(&script, &[&read], &[&write]);
    assert!(ran.text.ends_with("t\n"), "{}", ran.text);
    assert_eq!(fs::read_to_string(read.join("file")).unwrap(), "before");
    assert_eq!(fs::read_dir(&read).unwrap().count(), 1, "{}", ran.text);
    assert_eq!(
        fs::read_to_string(write.join("new")).unwrap(),
        "done\n",
        "{}",
        ran.text
    );
    assert!(
        !write.join(".git/hooks/post-commit").exists(),
        "{}",
        ran.text
    );
    assert!(write.join(".git/HEAD").exists(), "{}", ran.text);
    for path in [
        "/usr/exeat-test",
        "/etc/exeat-test",
        "/exeat-test",
        "/tmp/private",
    ] {
        assert!(!Path::new(path).exists(), "{path}");
    }
}

fn no_link_leads_out() {
    let ((_one, write), (_two, other)) = (folder(), folder());
    let _listener = UnixListener::bind(write.join("socket")).unwrap();
    fs::write(other.join("file"), "CANARY-tool-2").unwrap();
    std::os::unix::fs::symlink(&other, write.join("out")).unwrap();
    std::os::unix::fs::symlink("/proc/1/root", write.join("root")).unwrap();
    let (w, o) = (write.display(), other.display());
    let script = format!(
        "cat {w}/out/file; cat {w}/../../{o}/file; cat {w}/root/{o}/file; cat /proc/1/root/{o}/file; \
         cat /proc/1/cwd/{o}/file; test -S {w}/socket && echo CANARY-socket; echo x > {w}/out/new; unshare -Urm sh -c 'umount -l /; cat {o}/file'"
    );
    let ran = shell(&script, &[], &[&write]);
    assert!(!ran.text.contains("CANARY"), "{}", ran.text);
    assert!(!other.join("new").exists());
}

fn reaches_nothing() {
    let me = me();
    for address in [
        "203.0.113.9:80",
        "198.18.3.4:443",
        "127.0.0.1:3128",
        "[2001:db8::5]:443",
        "8.8.8.8:53",
    ] {
        let narrow = Narrow {
            read: vec![me.clone().into()],
            write: Vec::new(),
        };
        let ran = run(&[&me, "probe", "connect", address], narrow, LONG);
        assert_eq!(ran.text, "connection refused\n", "{address}");
    }
}

fn has_no_capability() {
    let ran = shell("grep -e Cap -e NoNew /proc/self/status; env", &[], &[]);
    let zeros = ran.text.matches("0000000000000000").count();
    assert!(
        zeros == 5 && ran.text.contains("NoNewPrivs:\t1"),
        "{}",
        ran.text
    );
    let variables = ran.text.lines().filter(|line| line.contains('='));
    let variables: Vec<&str> = variables.filter(|line| !line.starts_with("PWD=")).collect();
    assert_eq!(variables, ["PATH=/usr/bin:/bin"]);
}

fn ends_with_all_it_started() {
    let script = "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' & \
                  trap '' TERM; sleep 1000 & sleep 1000 & echo up; wait";
    let ran = run(
        &["sh", "-c", script],
        Narrow::default(),
        Duration::from_secs(1),
    );
    // The text ended, so nobody inside holds the pipe any more.
    assert_eq!((ran.text.as_str(), ran.code), ("up\n", None));
}

fn multiplying_meets_a_bound() {
    let script = "i=0; while [ $i -lt 3000 ]; do sleep 100 & i=$((i+1)); done; echo all";
    let ran = shell(script, &[], &[]);
    assert!(!ran.text.contains("all"), "{}", ran.text);
    assert_ne!(ran.code, Some(0), "{}", ran.text);
}
