//! Tools that are programs: asked for by a sealed agent, run outside of its sandbox in one of their own.

use serde_json::Value;

use crate::{
    run::server::Server,
    support::{Place, text},
};

const SECRET: &str = "CANARY-program-secret-93Kx";

const CONFIG: &str = "[agents.me]\n[agents.other]\n\
                      [credentials.notes]\nkind = \"bearer\"\nsecret = \"sealed:notes\"\nhosts = [\"notes.example\"]\n";

const POLICY: &str = r#"
[[rule]]
name = "programs"
agents = ["me"]
tools = ["local.*"]
effect = "allow"

[[rule]]
name = "not that one"
agents = ["me"]
tools = ["local.print"]
when = 'context.args.text == "forbidden"'
effect = "deny"
"#;

/// Tools over a folder that one of them may read and another may write.
fn tools(granted: &str) -> String {
    let tool = |name: &str, argv: &str, rest: &str| {
        format!(
            "[[tool]]\nname = \"{name}\"\nrequest = \"POST /{name}\"\ncategory = \"write\"\n\
             [tool.input]\nrequired = [\"text\"]\n[tool.input.properties]\ntext = {{ type = \"string\" }}\n\
             [tool.exec]\nargv = {argv}\n{rest}\n"
        )
    };
    let script = |text: &str| format!("[\"/bin/sh\", \"-c\", '''{text}''', \"sh\", \"{{text}}\"]");
    let mut all =
        String::from("[api]\nname = \"local\"\norigin = \"https://tools.exeat.internal\"\n");
    all.push_str(&tool("print", r#"["/usr/bin/printf", "%s", "{text}"]"#, ""));
    all.push_str(&tool(
        "part",
        r#"["/usr/bin/printf", "%s", "--text={text}"]"#,
        "",
    ));
    all.push_str(&tool(
        "json",
        r#"["/bin/cat"]"#,
        "stdin = \"json\"\noutput = \"json\"",
    ));
    all.push_str(&tool("fails", &script("echo said $1 >&2; exit 3"), ""));
    all.push_str(&tool(
        "slow",
        &script("sleep 100 & sleep 100"),
        "timeout = \"1s\"",
    ));
    all.push_str(&tool(
        "endless",
        r#"["/usr/bin/yes", "{text}"]"#,
        "output-max = \"64 KiB\"",
    ));
    all.push_str(&tool("lies", &script("echo $1"), "output = \"json\""));
    all.push_str(&tool(
        "read",
        &script("cat -- \"$1\""),
        &format!("read = [\"{granted}\"]"),
    ));
    all.push_str(&tool(
        "write",
        &script("echo new > \"$1\""),
        &format!("write = [\"{granted}\"]"),
    ));
    all.push_str(&tool(
        "connect",
        &script(
            "curl -sS --noproxy '*' --max-time 5 \"$1\" 2>&1; getent hosts notes.example; true",
        ),
        "",
    ));
    all.push_str(&tool(
        "complains",
        &script("cat -- \"$1\" >&2; exit 1"),
        &format!("read = [\"{granted}\"]"),
    ));
    all.push_str(&tool(
        "env",
        &script("env; id -u; ls /proc"),
        "env = { COLOR = \"blue\" }",
    ));
    all
}

#[test]
fn a_program_that_may_write_the_project_changes_nothing_that_decides() {
    let place = Place::with(&[
        ("exeat.toml", "[agents.me]\n"),
        (
            "policy.toml",
            POLICY.split("[[rule]]\nname = \"not").next().unwrap(),
        ),
        ("scripts/tool.sh", "#!/bin/sh\necho mine\n"),
        ("keys/sign", "CANARY-signing-key\n"),
    ]);
    let root = place.path().display().to_string();
    place.write("tools/extra.cedar", "");
    place.write(
        "tools/local.toml",
        &format!(
            "[api]\nname = \"local\"\norigin = \"https://tools.exeat.internal\"\n\
             [[tool]]\nname = \"attack\"\nrequest = \"POST /attack\"\ncategory = \"write\"\n\
             [tool.input]\nrequired = [\"text\"]\n[tool.input.properties]\ntext = {{ type = \"string\" }}\n\
             [tool.exec]\nargv = [\"/bin/sh\", \"-c\", '''eval \"$1\"''', \"sh\", \"{{text}}\"]\n\
             write = [\"{root}\", \"{root}/tools\"]\n\
             [[tool]]\nname = \"script\"\nrequest = \"POST /script\"\ncategory = \"read\"\n\
             [tool.exec]\nargv = [\"/bin/sh\", \"{root}/scripts/tool.sh\"]\nread = [\"{root}/scripts\"]\n\
             [[tool]]\nname = \"sign\"\nrequest = \"POST /sign\"\ncategory = \"read\"\n\
             [tool.sign]\nformat = \"ssh\"\nprogram = \"/bin/true\"\nkey = \"{root}/keys/sign.pub\"\n"
        ),
    );
    let files = [
        "exeat.toml",
        "policy.toml",
        "tools/local.toml",
        "tools/extra.cedar",
        "scripts/tool.sh",
    ];
    let before = files.map(|name| std::fs::read(place.path().join(name)).unwrap());
    let mut attack = format!("cd {root}; cat keys/sign; echo new > fine;");
    for name in files {
        let folder = name.split('/').next().unwrap();
        attack.push_str(&format!(
            "echo evil >> {name}; rm -f {name}; mv {folder} moved; echo evil > {name}.new; mv {name}.new {name};"
        ));
    }
    attack.push_str("echo evil > tools/evil.cedar; echo done");
    let body = serde_json::json!({ "text": attack }).to_string();
    let asked = place.run(&[
        "run", "--agent", "me", "--", "sh", "-c", SCRIPT, "sh", "attack", &body,
    ]);
    let (out, err) = (text(&asked.stdout), text(&asked.stderr));
    assert!(
        out.contains("done") && !out.contains("CANARY"),
        "{out}{err}"
    );
    assert_eq!(
        std::fs::read_to_string(place.path().join("fine")).unwrap(),
        "new\n"
    );
    for (name, before) in files.iter().zip(before) {
        assert_eq!(
            std::fs::read(place.path().join(name)).unwrap(),
            before,
            "{name}"
        );
    }
    assert!(!place.path().join("tools/evil.cedar").exists());
}

struct Asked {
    status: String,
    body: String,
}

struct World {
    place: Place,
    granted: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let granted = tempfile::tempdir().unwrap();
        let path = granted.path().display().to_string();
        std::fs::write(granted.path().join("note"), format!("it is {SECRET} here")).unwrap();
        let place = Place::with(&[
            ("exeat.toml", CONFIG),
            ("tools/local.toml", &tools(&path)),
            ("policy.toml", POLICY),
        ]);
        let set = place.run_with(&["secret", "set", "notes"], SECRET.as_bytes());
        assert!(set.status.success(), "{}", text(&set.stderr));
        Self { place, granted }
    }

    /// Asks for tools from inside, in one run; each text is an argument.
    #[track_caller]
    fn ask(&self, agent: &str, asks: &[(&str, &str)]) -> Vec<Asked> {
        let mut words = vec!["run", "--agent", agent, "--", "sh", "-c", SCRIPT, "sh"];
        let bodies: Vec<String> = asks
            .iter()
            .map(|(_, said)| serde_json::json!({ "text": said }).to_string())
            .collect();
        for ((tool, _), body) in asks.iter().zip(&bodies) {
            words.extend([*tool, body]);
        }
        let output = self.place.run(&words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let mut parts: Vec<&str> = out.split("\n@@").collect();
        parts.pop();
        assert_eq!(parts.len(), asks.len(), "{out}\n{err}");
        let asked = parts.into_iter().map(|part| {
            let (body, status) = part.rsplit_once("\n##").unwrap();
            Asked {
                status: status.to_owned(),
                body: body.to_owned(),
            }
        });
        asked.collect()
    }

    fn receipts(&self) -> Vec<Value> {
        self.place.values(&["receipt", "list"])
    }
}

const SCRIPT: &str = "while [ $# -gt 0 ]; do \
    curl -s --max-time 60 -H 'content-type: application/json' -d \"$2\" -w '\\n##%{http_code}\\n@@' \
    https://tools.exeat.internal/$1; shift 2; done";

#[test]
fn a_program_answers_a_call_with_what_it_wrote() {
    let world = World::new();
    let odd = "a b; $(id) `id` 'q' \"x\" * \\ {text}\n--";
    let asked = world.ask(
        "me",
        &[
            ("print", odd),
            ("part", "-rf"),
            ("json", odd),
            ("env", "x"),
            (
                "write",
                &world.granted.path().join("made").display().to_string(),
            ),
        ],
    );
    let statuses: Vec<&str> = asked.iter().map(|one| &*one.status).collect();
    assert_eq!(statuses, ["200"; 5], "{}", asked[4].body);
    assert_eq!(asked[0].body, odd);
    assert_eq!(asked[1].body, "--text=-rf");
    let json: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!(json, serde_json::json!({ "text": odd }));
    let env = &asked[3].body;
    assert!(
        env.contains("COLOR=blue") && env.contains("HOME=/tmp"),
        "{env}"
    );
    assert!(!env.contains("PROXY") && !env.contains("EXEAT"), "{env}");
    let made = std::fs::read_to_string(world.granted.path().join("made"));
    assert_eq!(made.unwrap(), "new\n");
    for receipt in world.receipts() {
        assert_eq!(receipt["outcome"]["result"], "completed", "{receipt}");
        assert_eq!(receipt["intent"]["origin"], "https://tools.exeat.internal");
    }
}

#[test]
fn what_a_program_must_not_be_asked_or_must_not_do_is_refused() {
    let world = World::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "CANARY-elsewhere").unwrap();
    let outside = outside.path().display().to_string();
    let note = world.granted.path().join("note").display().to_string();
    let journal = world.place.data().join("vault.json").display().to_string();
    let made = world
        .granted
        .path()
        .join("note/../../../../../etc/made")
        .display()
        .to_string();
    let rows = [
        ("print", "-v", "422", "would take for an option"),
        ("print", "forbidden", "403", "policy-forbids"),
        ("print", "zero\0byte", "422", "zero byte"),
        ("none", "x", "403", "tool-unknown"),
        ("fails", "why", "502", "status 3 and said: said why"),
        ("slow", "x", "502", "took longer"),
        ("endless", "x", "502", "wrote more"),
        ("lies", "{", "502", "not JSON"),
        ("read", &outside, "502", "No such file"),
        ("read", "/etc/shadow", "502", "tool-failed"),
        ("read", &journal, "502", "No such file"),
        ("read", &note, "200", "it is "),
        ("complains", &note, "502", "it is "),
        ("write", &made, "502", "tool-failed"),
        ("write", "/usr/made", "502", "Read-only"),
        ("connect", "http://127.0.0.1:3128/", "200", "(7)"),
        ("connect", "http://192.0.2.1/", "200", "(7)"),
        ("connect", "http://notes.example/", "200", "(6)"),
    ];
    let asks: Vec<(&str, &str)> = rows.iter().map(|row| (row.0, row.1)).collect();
    let asked = world.ask("me", &asks);
    for ((tool, said, status, part), asked) in rows.iter().zip(&asked) {
        assert_eq!(asked.status, *status, "{tool} {said}: {}", asked.body);
        assert!(asked.body.contains(part), "{tool} {said}: {}", asked.body);
        assert!(
            !asked.body.contains("CANARY"),
            "{tool} {said}: {}",
            asked.body
        );
    }
    let failed: Vec<Value> = world.receipts();
    let failed = failed
        .iter()
        .filter(|receipt| receipt["outcome"]["reason"] == "tool-failed");
    assert_eq!(
        failed.count(),
        rows.iter().filter(|row| row.2 == "502").count()
    );
    let other = world.ask("other", &[("print", "x")]);
    assert!(other[0].status == "403" && other[0].body.contains("policy-forbids"));
    let all = world.place.prints(&["receipt", "export"]);
    assert!(!all.contains("CANARY"), "{all}");
}

#[test]
fn a_program_asks_on_the_network_as_the_agent_that_it_is_declared_to_be() {
    let server = Server::start();
    let place = Place::with(&[
        (
            "exeat.toml",
            &format!(
                "[agents.me]\n[agents.fetcher]\n[network]\nallow-private = [\"notes.example:80\"]\n\
                 connect-to = {{ \"notes.example:80\" = \"127.0.0.1:{}\" }}\n",
                server.port
            ),
        ),
        (
            "tools/notes.toml",
            "[api]\nname = \"notes\"\norigin = \"http://notes.example\"\n\
             [[tool]]\nname = \"show\"\nrequest = \"GET /{id}\"\ncategory = \"read\"\n",
        ),
        (
            "tools/local.toml",
            "[api]\nname = \"local\"\norigin = \"https://tools.exeat.internal\"\n[[tool]]\nname = \"fetch\"\n\
             request = \"POST /fetch/{path}\"\ncategory = \"read\"\n[tool.exec]\nagent = \"fetcher\"\n\
             argv = [\"/usr/bin/curl\", \"-sS\", \"http://notes.example/{path}\", \"http://elsewhere.example/\"]\n",
        ),
        (
            "policy.toml",
            "[[rule]]\nname = \"programs\"\nagents = [\"me\"]\ntools = [\"local.*\"]\neffect = \"allow\"\n\
             [[rule]]\nname = \"notes\"\nagents = [\"fetcher\"]\ntools = [\"notes.show\"]\neffect = \"allow\"\n",
        ),
    ]);
    let script =
        "curl -s -X POST https://tools.exeat.internal/fetch/7; curl -s http://notes.example/7";
    let output = place.run(&["run", "--agent", "me", "--", "sh", "-c", script]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.starts_with("hello\n"), "{out}{err}");
    assert!(
        out.contains("tool-unknown") && out.contains("policy-forbids"),
        "{out}{err}"
    );
    let receipts = place.values(&["receipt", "list"]);
    let shown = |part: &str, name: &str| {
        let found = receipts
            .iter()
            .filter(|receipt| receipt[part][name].is_string());
        let asked = found.map(|receipt| {
            let word = |name: &str| receipt[part][name].as_str().unwrap_or("-").to_owned();
            (word("agent"), word("tool"))
        });
        asked.collect::<Vec<_>>()
    };
    let pair = |agent: &str, tool: &str| (agent.to_owned(), tool.to_owned());
    let allowed = shown("intent", "agent");
    assert!(allowed.contains(&pair("me", "local.fetch")), "{allowed:?}");
    assert!(
        allowed.contains(&pair("fetcher", "notes.show")),
        "{allowed:?}"
    );
    assert!(
        shown("refusal", "agent").contains(&pair("me", "notes.show")),
        "{receipts:?}"
    );
}

#[test]
fn the_agent_cannot_change_what_runs_and_nothing_runs_that_is_not_declared_whole() {
    let place = Place::with(&[
        ("exeat.toml", "[agents.me]\n"),
        ("policy.toml", POLICY),
        ("project/tool.sh", "#!/bin/sh\necho mine\n"),
    ]);
    let script = place.path().join("project/tool.sh");
    let script = script.display();
    let whole = format!(
        "[api]\nname = \"local\"\norigin = \"https://tools.exeat.internal\"\n[[tool]]\nname = \"print\"\n\
         request = \"POST /print\"\ncategory = \"read\"\n[tool.input.properties]\ntext = {{ type = \"string\" }}\n\
         [tool.exec]\nargv = [\"/bin/sh\", \"{script}\"]\nread = [\"{script}\"]\n"
    );
    place.write("tools/local.toml", &whole);
    let policy = POLICY.split("[[rule]]\nname = \"not").next().unwrap();
    place.write("policy.toml", policy);
    let attack = format!(
        "echo 'echo evil' > {script}; mv {script} {script}.old; rm -f {script}; \
         curl -s -X POST https://tools.exeat.internal/print"
    );
    let output = place.run(&["run", "--", "sh", "-c", &attack]);
    assert_eq!(text(&output.stdout), "mine\n", "{}", text(&output.stderr));
    for (from, to, message) in [
        ("\"/bin/sh\"", "\"/bin/nothing\"", "which is not there"),
        ("\"/bin/sh\"", "\"{text}\"", "not for arguments to say"),
        ("\"/bin/sh\"", "\"sh\"", "expected a full path"),
        (
            "\"/bin/sh\",",
            "\"/bin/sh\", \"{txt}\",",
            "did you mean `text`?",
        ),
        (
            "\"/bin/sh\",",
            "\"/bin/sh\", \"{text}\",",
            "is not a required string",
        ),
        (
            "tools.exeat.internal",
            "api.example.com",
            "not called at a host",
        ),
        (
            "category = \"read\"",
            "category = \"read\"\ncredential = \"x\"",
            "gets no credential",
        ),
        ("read = [", "shell = true\nread = [", "unknown key `shell`"),
        ("read = [", "read = [\"/\", ", "never granted"),
        (
            "read = [",
            "env = { LD_PRELOAD = \"/x\" }\nread = [",
            "not a variable that can be set",
        ),
        (
            "read = [",
            "agent = \"mee\"\nread = [",
            "did you mean `me`?",
        ),
        ("read = [", "timeout = \"2h\"\nread = [", "at most `10m`"),
        ("\"POST /print\"", "\"HEAD /print\"", "not called by `HEAD`"),
        ("[tool.exec]", "[tool.exce]", "did you mean `exec`?"),
    ] {
        place.write("tools/local.toml", &whole.replacen(from, to, 1));
        let told = place.told(&["check"]);
        assert!(told.contains(message), "{to}: {told}");
    }
}
