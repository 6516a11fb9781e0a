//! `exeat upgrade`: a gate is replaced under load, and nobody notices but the operator.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    load::{HOST, Load, SECRET, Speaks, Upstream, Way, whole_bytes},
    support::{Gate, Place, text},
};

const TOOLS: &str = r#"
[api]
name = "notes"
origin = "https://notes.example"
credential = "notes"
[[tool]]
name = "show"
request = "GET /notes/{id}"
category = "read"
description = "Show a note"
[[tool]]
name = "download"
request = "GET /download"
category = "read"
description = "All notes"
[[tool]]
name = "events"
request = "GET /events"
category = "read"
description = "What happens to notes"
"#;
pub(crate) const POLICY: &str =
    "[[rule]]\nname = \"read\"\nagents = [\"claude\"]\ntools = [\"notes.*\"]\neffect = \"allow\"\n";
/// How often a test asks again for something that a gate does in its own time.
const TRIES: usize = 400;

/// A gate under load, its upstream, and a runtime for clients.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) upstream: Upstream,
    pub(crate) runtime: Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let upstream = runtime.block_on(Upstream::start());
        let config = format!(
            "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\nagent = \"claude\"\n\
             [metrics]\naddress = \"127.0.0.1:0\"\n[agents.claude]\n\
             [credentials.notes]\nkind = \"bearer\"\nsecret = \"sealed:notes\"\nhosts = [\"{HOST}\"]\n\
             [network]\nallow-private = [\"{HOST}:443\"]\nupstream-roots = [\"root.pem\"]\n\
             connect-to = {{ \"{HOST}:443\" = \"{}\" }}\n",
            upstream.address
        );
        let place = Place::with(&[
            ("exeat.toml", &config),
            ("tools/notes.toml", TOOLS),
            ("policy.toml", POLICY),
            ("root.pem", &upstream.root_pem),
        ]);
        place.run_with(&["secret", "set", "notes"], SECRET.as_bytes());
        Self {
            place,
            upstream,
            runtime,
        }
    }

    /// The way through the gate that runs.
    pub(crate) fn way(&self, gate: &Gate) -> Way {
        let listener = gate.status["listeners"][0].as_str().unwrap();
        Way::new(listener, &self.place.prints(&["ca", "export"]))
    }

    /// Replaces the gate once more, as soon as the one before it has ended.
    fn next_upgrade(&self) -> Value {
        let tries = (0..TRIES).find_map(|_| {
            let upgraded = self.place.run(&["--json", "upgrade"]);
            serde_json::from_slice(&upgraded.stdout).ok()
        });
        tries.expect("the gate before this one did not end")
    }

    /// Receipts by decision.
    fn receipts(&self, decision: &str) -> usize {
        let all = self.place.values(&["receipt", "list", "--limit", "100000"]);
        all.iter()
            .filter(|receipt| receipt["decision"] == decision)
            .count()
    }

    /// Exports and verifies everything; gives what stands in it.
    #[track_caller]
    fn verified(&self) -> String {
        let key = self.place.prints(&["receipt", "key"]);
        self.place.write("key", &key);
        self.place
            .prints(&["receipt", "export", "--out", "receipts.jsonl"]);
        let verify = ["receipt", "verify", "receipts.jsonl", "--key", "key"];
        let verified = self.place.run(&verify);
        let told = text(&verified.stdout) + &text(&verified.stderr);
        assert_eq!(verified.status.code(), Some(3), "{told}");
        fs::read_to_string(self.place.path().join("receipts.jsonl")).unwrap()
    }
}

/// A gate that is nobody's child any more; stopped when dropped.
struct Stray(u64);

impl Stray {
    fn of(upgraded: &Value) -> Self {
        Self(upgraded["now"]["pid"].as_u64().unwrap())
    }

    fn signal(&self, name: &str) -> bool {
        let kill = ["-s", name, &self.0.to_string()];
        let mut command = Command::new("kill");
        let sent = command.args(kill).stderr(Stdio::null()).status();
        sent.unwrap().success()
    }

    /// Whether it runs; one that has ended and was not collected does not.
    fn lives(&self) -> bool {
        // Its memory goes before its files and their locks do, and its first thread may go before the others.
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).map_or(0, Iterator::count);
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        threads > 1 || state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
    }

    /// Waits until it has ended.
    #[track_caller]
    fn ended(&self, place: &Place) {
        // A gate in the background waits some seconds for the next sandbox.
        let ended = (0..TRIES * 10).any(|_| {
            place.prints(&["check"]);
            !self.lives()
        });
        assert!(ended, "process {} is still there", self.0);
    }

    /// Asks it to stop, and waits until another gate could have the folder.
    #[track_caller]
    fn stop(self, place: &Place) {
        assert!(self.signal("TERM"));
        self.ended(place);
        place.serve().stop();
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// A sandbox that asks for a note for each line it is sent.
struct Sandbox {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sandbox {
    fn start(place: &Place) -> Self {
        let script = "while read -r note; do curl -sS -o /dev/null -w '%{http_code}\\n' https://notes.example/notes/$note; done";
        let mut command = place.command(&["run", "--agent", "claude", "--", "sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            lines: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    #[track_caller]
    fn asks(&mut self) {
        self.lines.write_all(b"7\n").unwrap();
        let mut status = String::new();
        self.answers.read_line(&mut status).unwrap();
        assert_eq!(status, "200\n");
    }

    #[track_caller]
    fn ends(mut self) {
        drop(self.lines);
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_gate_is_replaced_under_load_without_one_failed_request() {
    let world = World::new();
    let gate = world.place.serve();
    let before = u64::from(gate.pid());
    let way = world.way(&gate);
    let mut sandbox = Sandbox::start(&world.place);
    sandbox.asks();
    let load = Arc::new(Load::default());
    let (asking, streams) = world.runtime.block_on(async {
        let speak = [Speaks::Http1, Speaks::Http2, Speaks::Http1, Speaks::Http2];
        let asking = speak.map(|speaks| way.keep_asking(speaks, &load));
        let streams = [
            way.download(Speaks::Http1, "/download").await,
            way.download(Speaks::Http2, "/events").await,
        ];
        load.wait_for_more(50).await;
        (asking, streams)
    });

    let upgraded = world.place.values(&["upgrade"]).remove(0);
    let stray = Stray::of(&upgraded);
    assert_eq!(upgraded["before"], before);
    let listeners = (&upgraded["now"]["listeners"], &upgraded["now"]["metrics"]);
    assert_eq!(
        listeners,
        (&gate.status["listeners"], &gate.status["metrics"])
    );
    assert_ne!(stray.0, before);
    world.runtime.block_on(load.wait_for_more(200));
    sandbox.asks();
    // Until the streams have ended the old process is there, and no third one takes over.
    let third = world.place.run(&["upgrade"]);
    let told = text(&third.stderr);
    assert!(told.contains(&format!("process {before}")), "{told}");

    world.upstream.let_go();
    world.runtime.block_on(async {
        for stream in streams {
            assert_eq!(stream.finish().await.unwrap(), whole_bytes());
        }
        load.wait_for_more(50).await;
        load.stop.store(true, Ordering::Release);
        for asking in asking {
            asking.await.unwrap();
        }
    });
    gate.ended();
    assert_eq!(*load.failures.lock().unwrap(), Vec::<String>::new());
    sandbox.asks();
    sandbox.ends();
    println!(
        "{} answers; calls waited {} ms",
        load.answers(),
        upgraded["waited-ms"].as_u64().unwrap_or_default()
    );

    // Each request has one receipt, each intent one outcome, and nobody is in doubt about any.
    let closed = (0..TRIES).any(|_| world.receipts("allowed") == load.answers() + 2 + 3);
    assert!(
        closed,
        "{} of {}",
        world.receipts("allowed"),
        load.answers()
    );
    assert_eq!(world.receipts("unknown") + world.receipts("open"), 0);
    let export = world.verified();
    let count = |what: &str| export.matches(what).count();
    assert_eq!(count(r#""kind":"upgrade""#), 1);
    assert_eq!(
        count(r#""kind":"call-intent""#),
        count(r#""kind":"call-outcome""#)
    );
    stray.stop(&world.place);
}

#[test]
fn calls_of_a_gate_that_is_killed_after_it_was_replaced_are_unknown() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let stream = world
        .runtime
        .block_on(way.download(Speaks::Http1, "/download"));
    let stray = Stray::of(&world.place.values(&["upgrade"])[0]);
    assert_eq!((world.receipts("open"), world.receipts("unknown")), (1, 0));
    drop(gate);
    let swept = (0..TRIES).any(|_| world.receipts("unknown") == 1);
    assert!(swept && world.receipts("open") == 0);
    assert!(world.runtime.block_on(stream.finish()).is_err());
    assert!(world.verified().contains(r#""kind":"sweep""#));
    // And from here on nobody stands in the way of the next one.
    let next = Stray::of(&world.next_upgrade());
    assert!(next.lives());
    drop(stray);
    next.stop(&world.place);
}

#[test]
fn a_gate_goes_on_when_the_program_that_should_replace_it_fails() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let load = Arc::new(Load::default());
    let (asking, ()) = world.runtime.block_on(async {
        let asking = way.keep_asking(Speaks::Http1, &load);
        (asking, load.wait_for_more(5).await)
    });
    let program = |name: &str, text: &str, mode: u32| {
        world.place.write(name, text);
        let path = world.place.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        world.place.told(&["upgrade", "--binary", name])
    };
    let told = program("ends", "#!/bin/sh\nexit 1\n", 0o755);
    assert!(told.contains("ended before it was ready"), "{told}");
    let told = program("talks", "#!/bin/sh\necho nonsense >&0\n", 0o755);
    assert!(told.contains("exit status: 1"), "{told}");
    let told = program("open", "#!/bin/sh\nexit 0\n", 0o777);
    assert!(told.contains("chmod go-w"), "{told}");
    let told = world.place.told(&["upgrade", "--binary", "nowhere"]);
    assert!(told.contains("cannot find"), "{told}");
    world
        .place
        .write("policy.toml", "[[rule]]\nname = \"broken\"\n");
    let told = world.place.told(&["upgrade"]);
    assert!(told.contains("the new program refused"), "{told}");
    world.place.write("policy.toml", POLICY);

    world.runtime.block_on(async {
        load.wait_for_more(20).await;
        load.stop.store(true, Ordering::Release);
        asking.await.unwrap();
    });
    assert_eq!(*load.failures.lock().unwrap(), Vec::<String>::new());
    let again = world
        .place
        .run_with(&["secret", "set", "notes"], SECRET.as_bytes());
    assert!(again.status.success(), "{}", text(&again.stderr));
    let stray = Stray::of(&world.place.values(&["upgrade"])[0]);
    gate.ended();
    stray.stop(&world.place);
}

#[test]
fn a_gate_that_ends_takes_the_one_before_it_along() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let stream = world
        .runtime
        .block_on(way.download(Speaks::Http1, "/download"));
    let stray = Stray::of(&world.place.values(&["upgrade"])[0]);
    assert!(stray.signal("TERM"));
    world.upstream.let_go();
    let whole = world.runtime.block_on(stream.finish()).unwrap();
    assert_eq!(whole, whole_bytes());
    gate.ended();
    stray.ended(&world.place);
    // The receipt was closed by the one, through the other, before both were gone.
    assert_eq!(world.receipts("unknown") + world.receipts("open"), 0);
    assert_eq!(world.receipts("allowed"), 1);
}

#[test]
fn a_gate_that_was_replaced_ends_when_the_new_one_dies() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let stream = world
        .runtime
        .block_on(way.download(Speaks::Http1, "/download"));
    let stray = Stray::of(&world.place.values(&["upgrade"])[0]);
    assert!(stray.signal("KILL"));
    // Nobody writes receipts any more, so nothing may go on.
    assert!(world.runtime.block_on(stream.finish()).is_err());
    gate.ended();
    stray.ended(&world.place);
    assert_eq!((world.receipts("open"), world.receipts("unknown")), (0, 1));
    world.verified();
}

#[test]
fn a_gate_in_the_background_is_replaced_and_ends_with_its_last_sandbox() {
    let world = World::new();
    let mut sandbox = Sandbox::start(&world.place);
    sandbox.asks();
    let stray = Stray::of(&world.place.values(&["upgrade"])[0]);
    sandbox.asks();
    let again = Stray::of(&world.next_upgrade());
    sandbox.asks();
    sandbox.ends();
    stray.ended(&world.place);
    again.ended(&world.place);
    assert_eq!(world.receipts("allowed"), 3);
}
