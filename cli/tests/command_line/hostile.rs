//! What a sealed command tries against the gate that holds it, with the binary as people run it.

use std::{fs, os::unix::net::UnixListener, process::Command};

use crate::support::{Place, text};

const CONFIG: &str = r#"
[[listener]]
mode = "explicit"
address = "127.0.0.1:0"
[agents.claude]
"#;

/// A place whose configuration lies in the very folder that the command works in.
fn project() -> Place {
    let place = Place::with(&[
        ("exeat.toml", CONFIG),
        ("policy.toml", ""),
        ("notes.txt", "mine"),
    ]);
    fs::create_dir(place.path().join("tools")).unwrap();
    place
}

#[track_caller]
fn sealed(place: &Place, script: &str) -> String {
    let mut command = place.command(&["run", "--strict", "--agent", "claude", "--"]);
    // Its home is elsewhere, as nothing is a project that holds a home folder.
    command
        .args(["sh", "-c", script])
        .env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_command_cannot_rewrite_what_decides_over_it() {
    let place = project();
    let script = "exec 2>/dev/null
        for file in exeat.toml policy.toml tools/more.toml; do (echo '# x' >> $file) && echo wrote $file; done
        for file in exeat.toml policy.toml tools; do mv $file aside && echo moved $file; done
        for file in exeat.toml policy.toml; do rm -f $file && echo removed $file; ln $file link && echo linked $file; done
        cp policy.toml other && mv -f other policy.toml && echo replaced
        echo more >> notes.txt";
    assert_eq!(sealed(&place, script), "");
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    assert_eq!(read("exeat.toml"), CONFIG);
    assert_eq!(read("policy.toml"), "");
    assert_eq!(fs::read_dir(place.path().join("tools")).unwrap().count(), 0);
    assert_eq!(
        read("notes.txt"),
        "minemore\n",
        "its own project is its own"
    );
}

#[test]
fn rules_that_are_not_there_yet_cannot_be_made_by_whom_they_hold() {
    let place = Place::with(&[("exeat.toml", CONFIG), ("policy.toml", "")]);
    let script = "(mkdir -p tools && echo x > tools/mine.toml) 2>/dev/null && echo made; true";
    assert_eq!(sealed(&place, script), "");
    assert!(!place.path().join("tools/mine.toml").exists());
}

#[test]
fn the_gates_socket_and_others_answer_nobody_inside() {
    let place = project();
    let gate = place.serve();
    let other = place.path().join("other.sock");
    let _listener = UnixListener::bind(&other).unwrap();
    let program = "import socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print('reached', path)
    except OSError:
        pass";
    place.write("try.py", program);
    let script = format!(
        "python3 try.py {} {}",
        place.data().join("exeat.sock").display(),
        other.display()
    );
    assert_eq!(sealed(&place, &script), "");
    // The same program does reach them from outside.
    let mut outside = Command::new("python3");
    outside.arg(place.path().join("try.py")).arg(&other);
    assert!(text(&outside.output().unwrap().stdout).starts_with("reached"));
    gate.stop();
}

#[test]
fn the_binary_gives_a_command_inside_no_way_to_the_gates_state() {
    let place = project();
    place.run_with(&["secret", "set", "notes"], b"CANARY-hostile-1");
    let before = fs::read(place.data().join("vault.json")).unwrap();
    let exeat = env!("CARGO_BIN_EXE_exeat");
    let data = place.data();
    let data = data.display();
    let script = format!(
        "exec 2>/dev/null
        {exeat} --data {data} --json secret list && echo listed
        {exeat} --data {data} token create --agent claude && echo token
        {exeat} --data {data} receipt export && echo exported
        cat {data}/vault.json {data}/master.key && echo read
        true"
    );
    assert_eq!(sealed(&place, &script), "");
    assert_eq!(fs::read(place.data().join("vault.json")).unwrap(), before);
}
