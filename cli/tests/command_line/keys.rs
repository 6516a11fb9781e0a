//! Keys that sign, the master key in each place it can be kept, and what of a gate's memory others can get at.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{Gate, Place, text};

const PIN: &str = "CANARY-pin-1234";
const PASSPHRASE: &str = "CANARY-passphrase-1";

/// A place with a token in a device, and what the configuration says about it.
pub(crate) struct Token {
    pub(crate) place: Place,
}

impl Token {
    /// A new one.
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let tokens = place.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        place.write("policy.toml", "");
        fs::create_dir(place.path().join("tools")).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        place.write("softhsm2.conf", &conf);
        let made = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                "exeat",
                "--so-pin",
                "12345678",
                "--pin",
                PIN,
            ])
            .env("SOFTHSM2_CONF", place.path().join("softhsm2.conf"))
            .output()
            .expect("softhsm2-util; `make setup` installs it");
        assert!(made.status.success(), "{}", text(&made.stderr));
        Self { place }
    }

    /// The lines of a configuration that name a key in the token.
    pub(crate) fn lines(label: &str) -> String {
        let module = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        ];
        let module = module.iter().find(|path| Path::new(path).exists());
        let module = module.expect("SoftHSM; `make setup` installs it");
        format!(
            "module = \"{module}\"\ntoken-label = \"exeat\"\nlabel = \"{label}\"\npin = \"env:PIN\"\n"
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command
            .env("SOFTHSM2_CONF", self.place.path().join("softhsm2.conf"))
            .env("PIN", PIN)
            .env("EXEAT_PASSPHRASE", PASSPHRASE);
        command
    }

    /// Starts a gate and waits until it serves.
    pub(crate) fn serve(&self) -> Gate {
        self.place
            .serve_as(self.command(&["--json", "serve", "--log", "json"]))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {all}");
        assert!(!all.contains("CANARY"), "{all}");
        text(&output.stdout)
    }

    /// Seals a secret.
    #[track_caller]
    fn seal(&self, name: &str, secret: &[u8]) {
        let mut set = self.command(&["secret", "set", name]);
        set.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut set = set.spawn().unwrap();
        std::io::Write::write_all(&mut set.stdin.take().unwrap(), secret).unwrap();
        assert!(set.wait().unwrap().success());
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}: {all}");
        assert!(!all.contains("CANARY"), "{all}");
        all
    }
}

#[test]
fn a_signer_is_declared_made_and_shown() {
    let token = Token::new();
    let card = Token::lines("gate");
    token.place.write(
        "exeat.toml",
        &format!("[signers.app]\nkind = \"software\"\nsecret = \"sealed:signers/app\"\n[signers.card]\nkind = \"pkcs11\"\n{card}"),
    );
    let before = token.prints(&["signer", "list"]);
    assert!(
        before.contains("there is no secret `signers/app` in the vault"),
        "{before}"
    );
    assert!(
        before.contains("has no key `gate` in its token"),
        "{before}"
    );
    for (name, algorithm, jose) in [("app", "eddsa", "EdDSA"), ("card", "rs256", "RS256")] {
        let pem = token.prints(&["signer", "create", name, "--algorithm", algorithm]);
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
        assert_eq!(token.prints(&["signer", "public", name]), pem);
        let ssh = token.prints(&["signer", "public", name, "--form", "ssh"]);
        assert!(ssh.starts_with("ssh-"), "{ssh}");
        let jwk = token.prints(&["signer", "public", name, "--form", "jwk"]);
        let jwk: Value = serde_json::from_str(&jwk).unwrap();
        assert!(jwk["kty"].is_string() && jwk.get("d").is_none(), "{jwk}");
        let again = token.refuses(&["signer", "create", name, "--algorithm", algorithm]);
        assert!(again.contains("already"), "{again}");
        let listed = token.prints(&["--json", "signer", "list"]);
        let listed = listed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let entry = listed
            .into_iter()
            .find(|entry: &Value| entry["name"] == name)
            .unwrap();
        assert_eq!(
            (&entry["algorithm"], entry.get("problem")),
            (&jose.into(), None)
        );
    }
    let unknown = token.refuses(&["signer", "create", "other"]);
    assert!(unknown.contains("there is no signer `other`"), "{unknown}");
    let mut wrong = token.command(&["signer", "public", "card"]);
    let wrong = wrong.env("PIN", "CANARY-wrong").output().unwrap();
    assert!(
        text(&wrong.stderr).contains("has a PIN that its device refuses"),
        "{wrong:?}"
    );
    token.place.write(
        "exeat.toml",
        "[credentials.app]\nkind = \"bearer\"\nsecret = \"env:A\"\nhosts = [\"a.example\"]\nsigner = \"ap\"\n",
    );
    let wrong = token.refuses(&["check"]);
    assert!(wrong.contains("unknown key `signer`"), "{wrong}");
}

/// The configuration that keeps the master key in this way.
fn kept_by(way: &str) -> String {
    let tables = Token::lines("wrapping");
    format!("[custody]\nmaster = \"{way}\"\n[custody.pkcs11]\n{tables}")
}

#[test]
fn the_master_key_moves_from_place_to_place_and_everything_still_opens() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("key-file"));
    token.seal("github", b"CANARY-github-token");
    let key = token.prints(&["receipt", "key"]);
    let mut names = vec!["master.key"];
    for (way, file) in [
        ("passphrase", "master.json"),
        ("pkcs11", "master.pkcs11.json"),
        ("passphrase", "master.json"),
        ("key-file", "master.key"),
    ] {
        token.place.write("exeat.toml", &kept_by(way));
        let early = token.refuses(&["secret", "list"]);
        assert!(early.contains("`exeat master move` moves it"), "{early}");
        assert!(
            token
                .prints(&["master", "show"])
                .contains("puts that right")
        );
        token.prints(&["master", "move"]);
        assert!(token.prints(&["master", "show"]).starts_with("kept by "));
        assert!(
            !token.place.data().join(names.pop().unwrap()).exists(),
            "{way}"
        );
        names.push(file);
        assert!(token.place.data().join(file).exists(), "{way}");
        assert!(
            token.prints(&["secret", "list"]).contains("github"),
            "{way}"
        );
        assert_eq!(token.prints(&["receipt", "key"]), key, "{way}");
    }
    token.place.write("exeat.toml", &kept_by("pkcs11"));
    token.prints(&["master", "move"]);
    fs::rename(
        token.place.path().join("tokens"),
        token.place.path().join("away"),
    )
    .unwrap();
    fs::create_dir(token.place.path().join("tokens")).unwrap();
    let gone = token.refuses(&["secret", "list"]);
    assert!(
        gone.contains("has no token `exeat` in its device"),
        "{gone}"
    );
    assert!(
        !token.place.data().join("master.key").exists(),
        "no other key is made"
    );
}

#[test]
fn a_rotated_master_key_opens_what_is_older_and_the_old_one_nothing_newer() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("key-file"));
    token.seal("github", b"CANARY-github-token");
    let key = token.prints(&["receipt", "key"]);
    let path = token.place.data().join("master.key");
    let first = fs::read(&path).unwrap();
    for way in ["key-file", "passphrase", "pkcs11"] {
        token.place.write("exeat.toml", &kept_by(way));
        token.prints(&["master", "move"]);
        token.prints(&["master", "rotate"]);
        assert!(
            token.prints(&["secret", "list"]).contains("github"),
            "{way}"
        );
        assert_eq!(token.prints(&["receipt", "key"]), key, "{way}");
    }
    token.place.write("exeat.toml", &kept_by("key-file"));
    token.prints(&["master", "move"]);
    assert_ne!(fs::read(&path).unwrap(), first);
    fs::write(&path, first).unwrap();
    let refused = token.refuses(&["secret", "list"]);
    assert!(
        refused.contains("was sealed under another master key"),
        "{refused}"
    );
}

#[test]
fn a_rotation_that_is_killed_leaves_a_key_that_opens() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("key-file"));
    token.seal("github", b"CANARY-github-token");
    let key = token.prints(&["receipt", "key"]);
    let path = token.place.data().join("master.key");
    for round in 0..20 {
        let before = fs::read(&path).unwrap();
        let mut rotating = token.command(&["master", "rotate"]);
        let mut rotating = rotating
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // At each step of it: the list, the new key beside the old one, the new key in its place, the keys of the folder.
        while rotating.try_wait().unwrap().is_none() {
            let there = match round % 4 {
                0 => token.place.data().join("master.earlier.json").exists(),
                1 => token.place.data().join("master.next").exists(),
                2 => fs::read(&path).unwrap_or_default() != before,
                _ => token.place.data().join("ledger-key.sealed.new").exists(),
            };
            if there {
                break;
            }
            std::hint::spin_loop();
        }
        rotating.kill().unwrap();
        rotating.wait().unwrap();
        assert!(
            token.prints(&["secret", "list"]).contains("github"),
            "round {round}"
        );
        assert_eq!(token.prints(&["receipt", "key"]), key, "round {round}");
    }
}

#[test]
fn a_key_that_opens_nothing_here_drives_no_other_out() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("passphrase"));
    let key = token.prints(&["receipt", "key"]);
    fs::write(token.place.data().join("master.key"), [0; 32]).unwrap();
    let only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(token.place.data().join("master.key"), only).unwrap();
    token.place.write("exeat.toml", &kept_by("key-file"));
    let refused = token.refuses(&["master", "move"]);
    assert!(refused.contains("nothing was removed"), "{refused}");
    token.place.write("exeat.toml", &kept_by("passphrase"));
    assert_eq!(token.prints(&["receipt", "key"]), key);
    token.prints(&["master", "move"]);
    assert!(!token.place.data().join("master.key").exists());
}

#[test]
fn a_move_that_is_killed_leaves_a_key_that_opens() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("key-file"));
    let key = token.prints(&["receipt", "key"]);
    let (old, new) = (
        token.place.data().join("master.key"),
        token.place.data().join("master.json"),
    );
    for round in 0..20 {
        token.place.write("exeat.toml", &kept_by("passphrase"));
        let mut moving = token.command(&["master", "move"]);
        let mut moving = moving
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Earlier and later in each round: before the new file, at once when it is there, and when the old one is gone.
        while moving.try_wait().unwrap().is_none() {
            let there = match round % 3 {
                0 => fs::read_dir(token.place.data()).unwrap().any(|file| {
                    file.unwrap()
                        .file_name()
                        .to_string_lossy()
                        .ends_with(".new")
                }),
                1 => new.exists(),
                _ => !old.exists(),
            };
            if there {
                break;
            }
            std::hint::spin_loop();
        }
        moving.kill().unwrap();
        moving.wait().unwrap();
        assert!(old.exists() || new.exists(), "round {round}");
        // Whichever way the configuration says, the move goes on from where it was.
        token.prints(&["master", "move"]);
        assert_eq!(token.prints(&["receipt", "key"]), key, "round {round}");
        assert!(new.exists() && !old.exists(), "round {round}");
        token.place.write("exeat.toml", &kept_by("key-file"));
        token.prints(&["master", "move"]);
        assert_eq!(token.prints(&["receipt", "key"]), key, "round {round}");
    }
}

#[test]
fn a_passphrase_is_changed_and_the_old_one_opens_nothing() {
    let token = Token::new();
    token.place.write("exeat.toml", &kept_by("passphrase"));
    let key = token.prints(&["receipt", "key"]);
    let with = |arguments: &[&str], passphrase: &str| {
        let mut command = token.command(arguments);
        command.env("EXEAT_PASSPHRASE", passphrase);
        command.env("EXEAT_NEW_PASSPHRASE", "CANARY-passphrase-2");
        let output = command.output().unwrap();
        (
            output.status.success(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let (wrong, said) = with(&["master", "passphrase"], "CANARY-passphrase-3");
    assert!(
        !wrong && said.contains("the passphrase does not open"),
        "{said}"
    );
    assert!(with(&["master", "passphrase"], PASSPHRASE).0);
    assert!(!with(&["secret", "list"], PASSPHRASE).0);
    assert_eq!(
        with(&["receipt", "key"], "CANARY-passphrase-2"),
        (true, key)
    );
}

#[test]
fn a_master_key_is_not_made_where_another_was() {
    let place = Place::with(&[("exeat.toml", ""), ("policy.toml", "")]);
    fs::create_dir(place.path().join("tools")).unwrap();
    place.prints(&["receipt", "key"]);
    fs::remove_file(place.data().join("master.key")).unwrap();
    let refused = place.told(&["receipt", "key"]);
    assert!(refused.contains("exit status: 1"), "{refused}");
    assert!(!place.data().join("master.key").exists());
}

/// A gate that runs as an ordinary user with cores allowed, for as long as the returned process is not ended.
struct Guarded {
    process: std::process::Child,
    user: Option<u32>,
    _place: Place,
}

impl Guarded {
    fn start() -> Self {
        let place = Place::with(&[("exeat.toml", "[agents.claude]\n"), ("policy.toml", "")]);
        fs::create_dir(place.path().join("tools")).unwrap();
        let user = rustix::process::geteuid().is_root().then_some(65534);
        let program: PathBuf = place.path().join("exeat");
        fs::copy(env!("CARGO_BIN_EXE_exeat"), &program).unwrap();
        for path in [place.path(), &program] {
            chown(path, user, user).unwrap();
        }
        let mut shell = vec![
            "sh",
            "-c",
            "ulimit -c unlimited 2>/dev/null; exec \"$0\" --json serve",
        ];
        if user.is_some() {
            let other = [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--bounding-set=-all",
                "--",
            ];
            shell = other.into_iter().chain(shell).collect();
        }
        let mut command = place.command::<&str>(&[]);
        let mut start = Command::new(shell[0]);
        start
            .args(&shell[1..])
            .arg(&program)
            .current_dir(place.path())
            .env_clear();
        start.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.stdout(Stdio::null());
        let mut process = start
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(process.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert!(line.contains("\"pid\""), "the gate did not start: {line}");
        Self {
            process,
            user,
            _place: place,
        }
    }

    /// What the same user gets who looks at a file of the process.
    fn look(&self, file: &str) -> Output {
        let path = format!("/proc/{}/{file}", self.process.id());
        let mut command = match self.user {
            Some(_) => {
                let mut command = Command::new("setpriv");
                command.args([
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    "--bounding-set=-all",
                    "--",
                    "head",
                ]);
                command
            }
            None => Command::new("head"),
        };
        command.args(["-c", "1", &path]).output().unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

#[test]
fn nobody_of_the_same_user_reads_the_memory_of_a_gate_and_it_leaves_no_core() {
    let mut gate = Guarded::start();
    assert!(gate.look("status").status.success());
    for file in ["mem", "environ", "maps"] {
        let looked = gate.look(file);
        assert!(!looked.status.success(), "{file}: {looked:?}");
        assert!(
            text(&looked.stderr).contains("Permission denied"),
            "{file}: {looked:?}"
        );
    }
    let pid = gate.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "ABRT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = gate.process.wait().unwrap();
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
}

#[test]
fn the_memory_of_a_gate_stays_out_of_swap_where_it_may() {
    let place = Place::with(&[("exeat.toml", "[agents.claude]\n"), ("policy.toml", "")]);
    fs::create_dir(place.path().join("tools")).unwrap();
    let gate = place.serve();
    let locked = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap()
    };
    let may = rustix::process::geteuid().is_root();
    assert_eq!(locked(gate.pid()) > 0, may);
    gate.stop();
    if may {
        let unprivileged = Guarded::start();
        assert_eq!(
            locked(unprivileged.process.id()),
            0,
            "a limit is in the way, and the gate runs all the same"
        );
    }
}

#[cfg(feature = "tpm")]
mod tpm {
    //! The same with a TPM, which swtpm plays.

    use std::{net::TcpListener, process::Child};

    use super::*;

    /// A TPM in a folder; gone when dropped.
    struct Chip {
        process: Child,
        port: u16,
    }

    impl Chip {
        fn start(state: &Path) -> Self {
            let port = ports();
            let socket = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
            let process = Command::new("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .args(["--tpmstate", &format!("dir={}", state.display())])
                .args(["--server", &socket(port), "--ctrl", &socket(port + 1)])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("swtpm; `make setup` installs it");
            let chip = Self { process, port };
            // It listens for control last.
            while std::net::TcpStream::connect(("127.0.0.1", port + 1)).is_err() {
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
            chip
        }
    }

    impl Drop for Chip {
        fn drop(&mut self) {
            self.process.kill().unwrap_or_default();
            self.process.wait().map(drop).unwrap_or_default();
        }
    }

    /// Two free ports in a row: for commands, and for control.
    fn ports() -> u16 {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
                return port;
            }
        }
    }

    #[test]
    fn a_tpm_keeps_the_master_key_and_a_signer() {
        let place = Place::with(&[("policy.toml", "")]);
        for folder in ["tools", "tpm"] {
            fs::create_dir(place.path().join(folder)).unwrap();
        }
        let chip = Chip::start(&place.path().join("tpm"));
        let config = |master: &str| {
            let tcti = format!("tcti = \"swtpm:host=127.0.0.1,port={}\"\n", chip.port);
            let text = format!(
                "[custody]\nmaster = \"{master}\"\n[custody.tpm]\n{tcti}[signers.chip]\nkind = \"tpm\"\n{tcti}"
            );
            place.write("exeat.toml", &text);
        };
        config("key-file");
        let key = place.prints(&["receipt", "key"]);
        config("tpm");
        place.prints(&["master", "move"]);
        assert!(!place.data().join("master.key").exists());
        assert_eq!(place.prints(&["receipt", "key"]), key);
        let pem = place.prints(&["signer", "create", "chip"]);
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"), "{pem}");
        assert!(place.prints(&["signer", "list"]).contains("ready"));
        drop(chip);
        assert!(place.told(&["receipt", "key"]).contains("exit status: 1"));
        assert!(!place.data().join("master.key").exists());
    }
}
