//! Runs the binary in a folder of its own, with nothing of the caller's environment.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;

/// A folder with a configuration and a data folder.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// One with these files; names may have folders.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::new();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data folder of its gate.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The binary, about to be run here.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exeat"));
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command
            .env("HOME", self.path())
            .env("EXEAT_DATA", self.data());
        if self.path().join("exeat.toml").exists() {
            command.env("EXEAT_CONFIG", "exeat.toml");
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it with something on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs it, expects it to end well, and returns what it printed.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{out}{err}",
            output.status
        );
        out
    }

    /// Like [`Place::prints`], as JSON values.
    #[track_caller]
    pub(crate) fn values(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = arguments.to_vec();
        all.insert(0, "--json");
        self.prints(&all)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Everything it says, on either stream, with how it ended; paths of this place are written `PLACE`.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let code = output
            .status
            .code()
            .map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let all = format!(
            "{}{}exit status: {code}\n",
            text(&output.stdout),
            text(&output.stderr)
        );
        all.replace(&self.path().display().to_string(), "PLACE")
    }

    /// Starts a gate and waits until it serves.
    pub(crate) fn serve(&self) -> Gate {
        self.serve_as(self.command(&["--json", "serve", "--log", "json"]))
    }

    /// Starts a gate by this command and waits until it serves.
    pub(crate) fn serve_as(&self, mut command: Command) -> Gate {
        let log = fs::File::create(self.path().join("serve.log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let log = || fs::read_to_string(self.path().join("serve.log")).unwrap();
        let status = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the gate did not start: {}", log()));
        Gate {
            child,
            status,
            _out: out,
        }
    }
}

/// A gate that runs.
pub(crate) struct Gate {
    child: Child,
    /// What it said when it was ready.
    pub(crate) status: Value,
    _out: BufReader<ChildStdout>,
}

impl Gate {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended, which it must by itself.
    #[track_caller]
    pub(crate) fn ended(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // A test that failed leaves no gate behind; one that has ended already cannot be killed.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
