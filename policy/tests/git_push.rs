//! Real `git push` over HTTP on the loopback: its bodies are captured, parsed, and handed to a real `git receive-pack`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use exeat_policy::git::{Kind, Push, parse_push};

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// A server repository, a working copy, and what was pushed.
struct Ground {
    folder: tempfile::TempDir,
    url: String,
    bodies: Bodies,
}

impl Ground {
    fn new(format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/server.git", listener.local_addr().unwrap());
        let bodies = Bodies::default();
        let server = folder.path().join("server.git");
        let ground = Self {
            folder,
            url,
            bodies: Arc::clone(&bodies),
        };
        ground.run(
            &[
                "init",
                "-q",
                "--bare",
                "--object-format",
                format,
                "server.git",
            ],
            ground.folder.path(),
        );
        ground.run(
            &[
                "init",
                "-q",
                "-b",
                "main",
                "--object-format",
                format,
                "work",
            ],
            ground.folder.path(),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &server, &bodies);
            }
        });
        ground
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn run(&self, args: &[&str], folder: &Path) -> String {
        let output = git(folder).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git(&self, args: &[&str]) -> String {
        self.run(args, &self.work())
    }

    fn commit(&self, message: &str) {
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    /// Pushes, and reads what was sent as the last request.
    fn push(&self, args: &[&str]) -> Push {
        self.push_from(&self.work(), args)
    }

    fn push_from(&self, folder: &Path, args: &[&str]) -> Push {
        self.bodies.lock().unwrap().clear();
        let (options, refs): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        self.run(
            &[
                &["push", "-q"],
                &options[..],
                &[self.url.as_str()],
                &refs[..],
            ]
            .concat(),
            folder,
        );
        let bodies = self.bodies.lock().unwrap();
        parse_push(bodies.last().unwrap()).unwrap()
    }

    /// Pushes and compares ref by ref.
    #[track_caller]
    fn check(&self, args: &[&str], expect: &[(&str, Kind)]) {
        let push = self.push(args);
        let mut seen: Vec<_> = push
            .updates
            .iter()
            .map(|update| (update.name.as_str(), update.kind))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, expect, "git push {args:?}");
    }
}

/// Git without the settings of whoever runs the test.
fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for name in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{name}_NAME"), "a")
            .env(format!("GIT_{name}_EMAIL"), "a@example.com");
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("no_proxy", "*")
        .env("NO_PROXY", "*");
    command
}

fn receive_pack(server: &Path, option: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = git(server);
    command
        .args(["receive-pack", "--stateless-rpc"])
        .args(option)
        .arg(".");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// Answers one request of git's smart HTTP transport.
fn answer(stream: TcpStream, server: &Path, bodies: &Bodies) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && reader.read_until(b'\n', &mut head).unwrap() > 0 {}
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let (kind, content) = if head.starts_with("get ") {
        let mut content = b"001f# service=git-receive-pack\n0000".to_vec();
        content.extend(receive_pack(server, &["--advertise-refs"], b""));
        ("advertisement", content)
    } else {
        let mut body = Vec::new();
        if header("transfer-encoding") == Some("chunked") {
            read_chunks(&mut reader, &mut body);
        } else {
            let length = header("content-length").unwrap().parse().unwrap();
            reader.take(length).read_to_end(&mut body).unwrap();
        }
        bodies.lock().unwrap().push(body.clone());
        ("result", receive_pack(server, &[], &body))
    };
    let mut stream = stream;
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-{kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&content).unwrap();
}

fn read_chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let length = u64::from_str_radix(line.trim_end(), 16).unwrap();
        reader.by_ref().take(length).read_to_end(body).unwrap();
        reader.read_line(&mut line).unwrap();
        if length == 0 {
            return;
        }
    }
}

const MAIN: &str = "refs/heads/main";

#[test]
fn branches_are_created_moved_rewritten_and_deleted() {
    for format in ["sha1", "sha256"] {
        let ground = Ground::new(format);
        ground.commit("one");
        ground.check(&["main"], &[(MAIN, Kind::Create)]);
        ground.commit("two");
        ground.check(&["main"], &[(MAIN, Kind::Update)]);
        for message in ["three", "four", "five"] {
            ground.commit(message);
        }
        ground.check(&["main"], &[(MAIN, Kind::Update)]);
        ground.check(&["--force", "main~2:main"], &[(MAIN, Kind::Force)]);
        ground.check(&["main"], &[(MAIN, Kind::Update)]);
        ground.git(&["commit", "-q", "--allow-empty", "--amend", "-m", "other"]);
        ground.check(&["--force", "main"], &[(MAIN, Kind::Force)]);
        ground.git(&["checkout", "-q", "--orphan", "unrelated"]);
        ground.commit("nothing in common");
        ground.check(&["--force", "unrelated:main"], &[(MAIN, Kind::Force)]);
        ground.check(&["main:topic"], &[("refs/heads/topic", Kind::Create)]);
        ground.check(&[":topic"], &[("refs/heads/topic", Kind::Delete)]);
    }
}

#[test]
fn merges_lead_back_through_either_parent() {
    let ground = Ground::new("sha1");
    ground.commit("one");
    ground.check(&["main"], &[(MAIN, Kind::Create)]);
    ground.git(&["checkout", "-q", "-b", "side"]);
    ground.commit("side");
    ground.git(&["checkout", "-q", "main"]);
    ground.commit("main");
    ground.git(&["checkout", "-q", "side"]);
    ground.git(&["merge", "-q", "-m", "merged", "main"]);
    ground.check(&["side:main"], &[(MAIN, Kind::Update)]);
}

#[test]
fn tags_are_created_and_never_merely_moved() {
    let ground = Ground::new("sha1");
    ground.commit("one");
    ground.git(&["tag", "light"]);
    ground.git(&["tag", "-a", "-m", "note", "full"]);
    let both = [
        (MAIN, Kind::Create),
        ("refs/tags/full", Kind::Create),
        ("refs/tags/light", Kind::Create),
    ];
    ground.check(&["--tags", "main"], &both);
    ground.commit("two");
    ground.git(&["tag", "-f", "light"]);
    ground.git(&["tag", "-f", "-a", "-m", "note", "full"]);
    let moved = [
        (MAIN, Kind::Update),
        ("refs/tags/full", Kind::Force),
        ("refs/tags/light", Kind::Force),
    ];
    ground.check(&["--force", "--tags", "main"], &moved);
    ground.check(&["--delete", "light"], &[("refs/tags/light", Kind::Delete)]);
}

#[test]
fn a_push_of_commits_the_server_has_proves_nothing() {
    let ground = Ground::new("sha1");
    ground.commit("one");
    ground.git(&["branch", "old"]);
    ground.commit("two");
    let all = [(MAIN, Kind::Create), ("refs/heads/old", Kind::Create)];
    ground.check(&["main", "old"], &all);
    ground.check(&["main:copy"], &[("refs/heads/copy", Kind::Create)]);
    ground.check(&["main:old"], &[("refs/heads/old", Kind::Force)]);
}

#[test]
fn packs_with_delta_commits_are_followed() {
    let ground = Ground::new("sha1");
    ground.commit("one");
    ground.check(&["main"], &[(MAIN, Kind::Create)]);
    let long: String = (0..200)
        .map(|line| format!("line {line} of a message that hardly changes\n"))
        .collect();
    for number in 0..40 {
        ground.commit(&format!("number {number}\n\n{long}"));
        std::fs::write(ground.work().join("file"), format!("{long}{number}\n")).unwrap();
        ground.git(&["add", "file"]);
    }
    ground.git(&[
        "repack",
        "-q",
        "-a",
        "-d",
        "-f",
        "--depth=50",
        "--window=50",
    ]);
    let packs = ground.work().join(".git/objects/pack");
    let index = std::fs::read_dir(packs)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let index = index
        .filter(|path| path.extension().is_some_and(|end| end == "idx"))
        .collect::<Vec<_>>();
    let listed = ground.git(&["verify-pack", "-v", index[0].to_str().unwrap()]);
    let deltas = listed
        .lines()
        .filter(|line| line.contains(" commit ") && line.split(' ').count() > 6);
    assert!(
        deltas.count() > 10,
        "the repository has no delta commits:\n{listed}"
    );
    ground.check(&["main"], &[(MAIN, Kind::Update)]);
}

#[test]
fn large_pushes_come_in_chunks_behind_a_probe() {
    let ground = Ground::new("sha1");
    ground.git(&["config", "http.postBuffer", "65536"]);
    let noise: Vec<u8> = (0_u32..300_000)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(ground.work().join("noise"), noise).unwrap();
    ground.git(&["add", "noise"]);
    ground.commit("noise");
    ground.check(&["main"], &[(MAIN, Kind::Create)]);
    let bodies = ground.bodies.lock().unwrap();
    assert_eq!(bodies.first().unwrap(), b"0000");
    assert!(parse_push(b"0000").unwrap().updates.is_empty());
    assert!(bodies.last().unwrap().len() > 65536);
}

#[test]
fn a_shallow_clone_may_move_a_branch() {
    let ground = Ground::new("sha1");
    for message in ["one", "two", "three"] {
        ground.commit(message);
    }
    ground.check(&["main"], &[(MAIN, Kind::Create)]);
    let origin = format!(
        "file://{}",
        ground.folder.path().join("server.git").display()
    );
    ground.run(
        &["clone", "-q", "--depth=1", "-b", "main", &origin, "shallow"],
        ground.folder.path(),
    );
    let shallow = ground.folder.path().join("shallow");
    ground.run(&["commit", "-q", "--allow-empty", "-m", "four"], &shallow);
    let push = ground.push_from(&shallow, &["main"]);
    assert!(
        ground
            .bodies
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .get(4..)
            .unwrap()
            .starts_with(b"shallow ")
    );
    assert_eq!(push.updates[0].kind, Kind::Update);
}

#[test]
fn push_options_are_seen() {
    let ground = Ground::new("sha1");
    let server = ground.folder.path().join("server.git");
    ground.run(&["config", "receive.advertisePushOptions", "true"], &server);
    ground.commit("one");
    let push = ground.push(&["--push-option=ci.skip", "main"]);
    assert_eq!(push.options, ["ci.skip"]);
    assert_eq!(push.updates[0].kind, Kind::Create);
}
