//! What of the filesystem a command can change and read, tried in a made-up home.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _, pipe},
    os::unix::net::UnixListener,
    path::PathBuf,
};

use exeat_sandbox::{Access, CREDENTIALS, Sandbox, kept_in_home, kept_in_project, state_folders};

use crate::{
    Test,
    home::{Home, PLACE, build},
    outside::{me, piped, plan},
};

pub(crate) const TESTS: [Test; 11] = [
    (
        "the_project_can_be_changed_and_the_rest_only_read",
        the_project_can_be_changed,
    ),
    ("no_known_credential_can_be_read", no_credential_can_be_read),
    (
        "a_credential_that_comes_later_cannot_be_read",
        later_credentials_cannot_be_read,
    ),
    (
        "start_up_files_and_hooks_never_change",
        kept_places_never_change,
    ),
    (
        "what_is_kept_cannot_be_moved_aside",
        kept_places_cannot_be_moved,
    ),
    ("git_works_and_its_settings_stay", git_works),
    (
        "a_linked_worktree_works_and_a_forged_one_does_not",
        linked_worktrees,
    ),
    (
        "reserved_places_are_gone_afterwards",
        reserved_places_are_gone,
    ),
    (
        "the_home_folder_is_no_project",
        the_home_folder_is_no_project,
    ),
    (
        "an_agent_changes_its_state_and_finds_its_login",
        an_agent_has_its_state,
    ),
    (
        "no_socket_of_an_outer_process_answers",
        no_outer_socket_answers,
    ),
];

fn the_project_can_be_changed() {
    let home = Home::new();
    home.outside("touch .hidden && mkdir deep && ln -s src link");
    let sealed = home.sh(
        "echo x > src/new && rm src/main.rs && mv src deep/src && chmod 755 deep && cat ../notes.txt && \
         echo y > /tmp/exeat-$$ && rm /tmp/exeat-$$ && echo z > /dev/shm/z && echo > /dev/null && echo done",
    );
    assert_eq!((sealed.text.as_str(), sealed.code), ("minedone\n", 0));
    let closed = ["notes.txt", "new.txt", ".config/new", "other"].map(|name| home.path(name));
    home.check_closed(home.access(), &closed);
    // Only names that are not there, as the tests would do harm if the seal did not hold.
    let system = [
        "/etc/exeat-new",
        "/usr/bin/exeat-new",
        "/var/lib/exeat-new",
        "/opt/exeat-new",
    ];
    home.check_closed(home.access(), &system.map(PathBuf::from));
    // A program that runs as its owner, whoever starts it, is left nowhere.
    let set_user =
        home.sh("cp /bin/true deep/t; chmod u+s deep/t; chmod 755 deep/t; stat -c %a deep/t");
    assert_eq!(set_user.text, "755\n");
    // Two temporary files of the same kind: the sandbox sees those of everybody.
    let shared = tempfile::NamedTempFile::new().unwrap();
    let sealed = home.sh(&format!("echo seen > {}", shared.path().display()));
    assert_eq!(
        (
            sealed.code,
            fs::read_to_string(shared.path()).unwrap().as_str()
        ),
        (0, "seen\n")
    );
}

fn no_credential_can_be_read() {
    for (as_files, root) in [(false, "work"), (true, "work"), (true, ".cache")] {
        let home = Home::new();
        for place in CREDENTIALS {
            let inner = CREDENTIALS
                .iter()
                .any(|other| other.starts_with(&format!("{place}/")));
            match (as_files && !inner, home.path(place).exists()) {
                (true, false) => home.write(place, "CANARY-sandbox-6"),
                _ => home.write(&format!("{place}/secret"), "CANARY-sandbox-6"),
            }
        }
        let mut access = home.access();
        access.write.push(home.path(root));
        let found = home.run(
            access.clone(),
            "grep",
            &["-rs", "CANARY", home.path("").to_str().unwrap()],
        );
        assert_eq!(found.text, "", "{root}");
        // The whole home folder, named by the operator, is no exception.
        access.write.push(home.path(""));
        let found = home.run(
            access,
            "grep",
            &["-rs", "CANARY", home.path("").to_str().unwrap()],
        );
        assert_eq!(found.text, "", "{root}");
    }
    let home = Home::new();
    let listed = home.sh("cat /etc/shadow; ls -A /etc/ssl/private; ls ~; cat ~/notes.txt");
    assert_eq!(listed.text, "go\nnotes.txt\nwork\nmine");
    // Caches can be filled, and what is not used is gone afterwards.
    let sealed =
        home.sh("touch ~/.npm/x ~/.cargo/registry/x ~/.cargo/x; ls ~/.npm ~/.cargo/registry");
    assert!(sealed.text.contains("registry:\nx\n"), "{}", sealed.text);
    let mut left: Vec<_> = fs::read_dir(home.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".cargo", ".npm", "notes.txt", "work"]);
}

fn later_credentials_cannot_be_read() {
    let home = Home::new();
    home.write(".npmrc", "old CANARY-sandbox-7");
    home.write(".config/app/settings", "fine");
    let script = "echo ready; read line; cat ~/.npmrc ~/.netrc ~/.config/gh/hosts.yml; cat ~/.config/app/settings; echo end";
    let (reader, mut plan) = piped(plan("sh", &["-c", script]));
    let (input, mut typed) = pipe().unwrap();
    plan.streams.stdin = input.into();
    plan.access = home.access();
    plan.env.push(("HOME".into(), home.path("").into()));
    let (_listeners, prepared) = Sandbox::start(plan).unwrap();
    let running = prepared.go(Vec::new(), Vec::new()).unwrap();
    let mut lines = BufReader::new(reader);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    // What a tool outside does when the operator logs in meanwhile: new files, and replaced ones.
    home.write(".netrc", "CANARY-sandbox-8");
    home.write(".config/gh/hosts.yml", "CANARY-sandbox-9");
    home.write(".npmrc.new", "CANARY-sandbox-10");
    fs::rename(home.path(".npmrc.new"), home.path(".npmrc")).unwrap();
    typed.write_all(b"\n").unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "fineend\n");
    assert_eq!(running.wait().unwrap(), 0);
}

fn kept_places_never_change() {
    let home = Home::new();
    let mut kept = build(&home.path(""), &kept_in_home().copied().collect::<Vec<_>>());
    kept.extend(build(
        &home.path("work"),
        &kept_in_project().copied().collect::<Vec<_>>(),
    ));
    home.outside("git init -q .");
    let git = [
        "config",
        "hooks",
        "hooks/post-checkout",
        "commondir",
        "config.worktree",
    ];
    kept.extend(git.map(|name| home.path("work/.git").join(name)));
    home.check_closed(home.access(), &kept);
    // Also where the operator opens the whole home folder.
    let mut access = home.access();
    access.write.push(home.path(""));
    home.check_closed(access, &kept);
    // What the operator names is theirs to open.
    let mut access = home.access();
    access.write.push(home.path(".config/nvim"));
    let sealed = home.run(
        access,
        "sh",
        &["-c", "echo new > ~/.config/nvim/inner && echo done"],
    );
    assert_eq!(sealed.text, "done\n");
}

fn kept_places_cannot_be_moved() {
    let home = Home::new();
    home.outside(
        "git init -q . && mkdir -p .git/modules/a/b/hooks other hooks.d lib/x && cd lib/x && git init -q . && cd ../.. && \
         cp .git/HEAD .git/config .git/modules/a/b && rm -rf .git/hooks && ln -s ../hooks.d .git/hooks && mkdir .claude && \
         echo {} > .claude/settings.json && ln -s other .githooks",
    );
    let names = [
        ".git",
        ".git/hooks",
        "hooks.d",
        ".git/modules",
        ".git/modules/a",
        ".git/modules/a/b",
        ".git/modules/a/b/config",
        ".git/modules/a/b/hooks",
        "lib/x/.git/config",
        "lib/x/.git/hooks",
        ".claude",
        ".githooks",
        "other",
    ];
    let script = names.map(|name| {
        format!("mv {name} moved 2>/dev/null && echo moved {name}; rm -rf {name} 2>/dev/null")
    });
    let sealed = home.sh(&script.join("; "));
    assert_eq!(sealed.text, "");
    let closed = [
        "hooks.d",
        ".git/modules/a/b/config",
        "lib/x/.git/config",
        ".claude/settings.json",
        "other",
    ];
    home.check_closed(
        home.access(),
        &closed.map(|name| home.path("work").join(name)),
    );
}

fn git_works() {
    let home = Home::new();
    home.outside("git init -q -b main . && git config user.useConfigOnly false");
    let sealed = home.sh(
        "git add -A && git commit -qm one && git checkout -qb other && echo x >> src/main.rs && git stash -q && \
         git stash pop -q && git commit -qam two && git worktree add -q tree main && git gc -q && \
         git log --format=%s && git status --short; git config user.name Mallory; echo $?; \
         echo /evil > .git/commondir; git rev-parse --git-common-dir >/dev/null && echo sound",
    );
    // Git says that it could not lock or write its settings.
    let lines: Vec<&str> = sealed.text.lines().collect();
    assert_eq!(lines.first(), Some(&"two"), "{}", sealed.text);
    assert!(
        lines.contains(&"one") && lines.contains(&"sound"),
        "{}",
        sealed.text
    );
    assert!(!lines.contains(&"0"), "{}", sealed.text);
    assert!(
        !fs::read_to_string(home.path("work/.git/config"))
            .unwrap()
            .contains("Mallory")
    );
    home.outside("git fsck --no-progress && git config user.name A && ! test -e .git/commondir");
}

fn linked_worktrees() {
    let home = Home::new();
    home.outside(
        "git init -q -b main . && git add -A && git -c user.name=A -c user.email=a@a.example commit -qm one && \
         git worktree add -q -b side ../side && git worktree add -q -b third ../third && rm -r .git/hooks && \
         git config core.hooksPath ./hooks.d/_ && mkdir -p .git/modules/vendor/lib && cp .git/HEAD .git/modules/vendor/lib",
    );
    home.write("work/.git/modules/vendor/lib/config", "[core]\n");
    let mut access = home.access();
    access.project = home.path("side");
    let script =
        "cd ../side && echo x > new && git add -A && git commit -qm two && git log --format=%s";
    let sealed = home.run(access.clone(), "sh", &["-c", script]);
    assert_eq!(sealed.text, "two\none\n");
    let closed = [
        "work/.git/config",
        "work/.git/hooks",
        "work/src",
        "side/.git",
        "side/hooks.d",
        "work/.git/commondir",
        "work/.git/config.worktree",
        "work/.git/modules/vendor/lib/config",
        "work/.git/modules/vendor/lib/hooks",
        "work/.git/modules/vendor/lib/commondir",
        "work/.git/worktrees/side/config.worktree",
        "work/.git/worktrees/third/config.worktree",
        "work/.git/worktrees/third/gitdir",
    ]
    .map(|name| home.path(name));
    home.check_closed(access.clone(), &closed);
    home.outside("! test -e .git/commondir && ! test -e ../side/hooks.d && git fsck --no-progress");
    // The pointer of another place opens nothing: that does not point back.
    home.write("private/commondir", ".");
    home.write("private/notes", "mine");
    fs::write(
        home.path("side/.git"),
        format!("gitdir: {}\n", home.path("private").display()),
    )
    .unwrap();
    home.check_closed(
        access,
        &[home.path("private/notes"), home.path("private/new")],
    );
}

fn reserved_places_are_gone() {
    let home = Home::new();
    let sealed = home.sh("ls -A; (echo '{}' > .vscode/tasks.json) 2>/dev/null || echo closed");
    assert_eq!(sealed.text, ".devcontainer\n.idea\n.vscode\nsrc\nclosed\n");
    let left: Vec<_> = fs::read_dir(home.path("work")).unwrap().collect();
    assert_eq!(left.len(), 1);
    // Where nothing is, nothing is reserved: programs that begin a project want an empty folder.
    let mut access = home.access();
    access.project = home.path("fresh");
    fs::create_dir(home.path("fresh")).unwrap();
    let sealed = home.run(
        access,
        "sh",
        &["-c", "cd ../fresh && ls -A && git init -q . && ls -A"],
    );
    assert_eq!(sealed.text, ".git\n");
}

fn the_home_folder_is_no_project() {
    let home = Home::new();
    let above = PLACE.get().unwrap().clone();
    for project in [
        home.path(""),
        above,
        "/".into(),
        "/etc".into(),
        home.path("none"),
    ] {
        let access = Access {
            project,
            ..home.access()
        };
        assert!(!access.is_project());
        home.check_closed(
            access,
            &[
                home.path("notes.txt"),
                home.path("work/new"),
                "/etc/exeat-new".into(),
            ],
        );
    }
    assert!(home.access().is_project());
}

fn an_agent_has_its_state() {
    let home = Home::new();
    home.write(".codex/auth.json", "mine");
    home.write(".claude/.credentials.json", "CANARY-sandbox-11");
    let mut access = home.access();
    access.write = state_folders("codex".as_ref(), &home.path(""));
    let script = "cat ~/.codex/auth.json ~/.claude/.credentials.json; echo x > ~/.codex/new && echo done; \
                  (echo x > ~/.codex/config.toml) 2>/dev/null || echo closed";
    assert_eq!(
        home.run(access, "sh", &["-c", script]).text,
        "minedone\nclosed\n"
    );
    assert!(!home.path(".codex/config.toml").exists());
    // The state of an agent that runs for the first time is made.
    let other = Home::new();
    let mut access = other.access();
    access.write = state_folders("claude".as_ref(), &other.path(""));
    let script = "cat ~/.claude.json && echo '{\"a\":1}' > ~/.claude.json && echo x > ~/.claude/history.jsonl && ls -A ~/.claude";
    let sealed = other.run(access, "sh", &["-c", script]);
    assert_eq!(
        sealed.text,
        "{}\nagents\ncommands\nhistory.jsonl\nhooks\nlocal\nplugins\nsettings.json\nsettings.local.json\n"
    );
    assert_eq!(
        fs::read_to_string(other.path(".claude.json")).unwrap(),
        "{\"a\":1}\n"
    );
    assert_eq!(fs::read_dir(other.path(".claude")).unwrap().count(), 1);
}

fn no_outer_socket_answers() {
    let home = Home::new();
    let temporary = tempfile::tempdir().unwrap();
    let places = [
        home.path("agent.sock"),
        home.path("work/db.sock"),
        temporary.path().join("deep.sock"),
    ];
    let listeners: Vec<_> = places
        .iter()
        .map(|place| UnixListener::bind(place).unwrap())
        .collect();
    let mut words = vec!["probe", "sockets"];
    words.extend(places.iter().map(|place| place.to_str().unwrap()));
    let sealed = home.run(home.access(), &me(), &words);
    assert_eq!(sealed.text, "closed\nclosed\nclosed\nown open\n");
    drop(listeners);
}
