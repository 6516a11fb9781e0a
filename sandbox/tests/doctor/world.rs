//! The world around the probes: listeners, files and a process that stands for the gate, and the two ways to run them.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{PipeReader, Read as _, Write as _, pipe},
    net::{TcpListener, UdpSocket},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use exeat_sandbox::{
    Access, Listeners, Plan, Resolver, Sandbox, Streams,
    doctor::{Check, DOCTOR, Errand, namespaces},
};
use tokio::{runtime::Builder, sync::Notify};

/// The world outside: listeners, files, and a process that stands for the gate.
pub(crate) struct World {
    tcp: TcpListener,
    udp: UdpSocket,
    named: UnixListener,
    bound: Vec<UnixListener>,
    gate: Child,
    folder: tempfile::TempDir,
    errand: Errand,
}

impl World {
    pub(crate) fn make() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("exeat-doctor-")
            .tempdir()
            .unwrap();
        let (tcp, udp) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let name = folder
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        let named = UnixListener::bind_addr(&address).unwrap();
        let home = folder.path().join("home");
        plant(folder.path());
        let sockets = ["data/exeat.sock", "home/agent.sock"].map(|path| folder.path().join(path));
        let bound = sockets
            .iter()
            .map(|path| UnixListener::bind(path).unwrap())
            .collect();
        // It waits for the end of its input, which comes with the end of this process.
        let gate = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let errand = Errand {
            namespaces: namespaces(),
            gate: Some(gate.id()),
            tcp: vec![tcp.local_addr().unwrap()],
            udp: vec![udp.local_addr().unwrap()],
            abstract_sockets: vec![name],
            sockets: sockets.to_vec(),
            hidden: vec![folder.path().join("data")],
            private: vec![home.join(".ssh"), home.join(".netrc")],
            kept: vec![
                home.join(".bashrc"),
                home.join(".profile"),
                home.join("project/.vscode/tasks.json"),
                home.join("project/exeat.toml"),
                home.join("project/tools"),
            ],
            canaries: vec!["CANARY-doctor-2".to_owned()],
            ..Errand::default()
        };
        Self {
            tcp,
            udp,
            named,
            bound,
            gate,
            folder,
            errand,
        }
    }

    /// What got through to a listener.
    pub(crate) fn reached(&self) -> Vec<String> {
        let mut reached = Vec::new();
        self.tcp.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        reached.extend(self.tcp.accept().map(|_| "tcp".to_owned()));
        reached.extend(self.udp.recv(&mut [0; 64]).map(|_| "udp".to_owned()));
        for listener in std::iter::once(&self.named).chain(&self.bound) {
            listener.set_nonblocking(true).unwrap();
            reached.extend(listener.accept().map(|_| "unix".to_owned()));
        }
        reached
    }

    fn environment() -> BTreeMap<String, String> {
        let words = [
            ("PATH", "/usr/bin:/bin"),
            ("AWS_SECRET_ACCESS_KEY", "CANARY-doctor-2"),
        ];
        words
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// The probes without any seal.
    pub(crate) fn unsealed(&self) -> Vec<Check> {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(DOCTOR).env_clear().envs(Self::environment());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let errand = serde_json::to_vec(&self.errand).unwrap();
        child.stdin.take().unwrap().write_all(&errand).unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// The probes in a sandbox, whose names are answered and whose other listeners nobody serves.
    pub(crate) fn seal(&self) -> Vec<Check> {
        let (stdin, mut errand) = pipe().unwrap();
        let (mut report, stdout) = pipe().unwrap();
        let (listeners, prepared) = Sandbox::start(self.plan(stdin.into(), stdout.into())).unwrap();
        let done = Arc::new(Notify::new());
        let until = Arc::clone(&done);
        let names = std::thread::spawn(move || answer_names(listeners, &until));
        let running = prepared.go(Vec::new(), Vec::new()).unwrap();
        errand
            .write_all(&serde_json::to_vec(&self.errand).unwrap())
            .unwrap();
        drop(errand);
        let text = read(&mut report);
        assert_eq!(running.wait().unwrap(), 0, "{text}");
        done.notify_one();
        names.join().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn plan(&self, stdin: OwnedFd, stdout: OwnedFd) -> Plan {
        let home = self.folder.path().join("home");
        let environment = Self::environment().into_iter();
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        Plan {
            argv: vec![env::current_exe().unwrap().into(), DOCTOR.into()],
            env: exeat_sandbox::scrub(environment),
            hide: vec![self.folder.path().join("data")],
            access: Access {
                home: Some(home.clone()),
                project: home.join("project"),
                write: Vec::new(),
                keep: vec![home.join("project/exeat.toml"), home.join("project/tools")],
            },
            workdir: home.join("project"),
            exe: PathBuf::from("/proc/self/exe"),
            streams: Streams {
                stdin,
                stdout,
                stderr: File::options()
                    .write(true)
                    .open("/dev/null")
                    .unwrap()
                    .into(),
            },
        }
    }
}

/// Files that must not be read or written.
fn plant(place: &Path) {
    for path in [
        "home/.ssh",
        "home/project/.vscode",
        "home/project/tools",
        "data",
    ] {
        fs::create_dir_all(place.join(path)).unwrap();
    }
    for path in [
        "home/.ssh/id",
        "home/.netrc",
        "home/.bashrc",
        "home/project/exeat.toml",
        "data/vault.json",
    ] {
        fs::write(place.join(path), "CANARY-doctor-1").unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.gate.stdin.take());
        self.gate.wait().unwrap();
    }
}

fn read(report: &mut PipeReader) -> String {
    let mut text = String::new();
    report.read_to_string(&mut text).unwrap();
    text
}

fn answer_names(listeners: Listeners, done: &Notify) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver =
            Resolver::new(|host| host.name().is_some_and(|name| name.ends_with(".example")));
        tokio::select! {
            () = done.notified() => {}
            ended = resolver.serve_udp(listeners.dns_udp) => ended.expect("names over UDP"),
            ended = resolver.serve_tcp(listeners.dns_tcp) => ended.expect("names over TCP"),
        }
    });
}
