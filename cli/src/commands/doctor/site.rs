//! The doctor's own gate: a configuration, a server and a home folder made for the purpose, in a folder that goes away.
//!
//! Names that resolve to this machine, files of credentials and start-up files can be planted here, which nobody would
//! want in their own. The gate is this very program.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use exeat_sandbox::{CREDENTIALS, doctor::Errand, kept_in_home, kept_in_project};
use exeat_types::AgentId;
use rustix::process::{Pid, Signal, kill_process};

use super::{known::Known, witness::Witness};
use crate::{
    demo::upstream::Upstream,
    folder::{self, DataFolder, ENDING_GATE},
    settings::Settings,
    socket::{Client, Request, Status},
};

/// The agent whose sandbox it is.
const AGENT: &str = "doctor";
/// The host that the server's certificate is for.
const HOST: &str = "api.demo.test";
const OTHER: &str = "other.demo.test";
const PLAIN: &str = "plain.demo.test";
/// Files of a repository that run later.
const REPOSITORY: [&str; 4] = [
    ".git/hooks/",
    ".git/config",
    ".git/modules/part/hooks/",
    ".git/modules/part/config",
];
/// What planted files say.
const CANARY: &str = "exeat-doctor-canary\n";
/// How long the gate may take to end.
const PATIENCE: Duration = ENDING_GATE;

/// Everything made for the purpose.
pub(super) struct Site {
    place: tempfile::TempDir,
    upstream: Upstream,
    /// The configuration of its gate.
    pub(super) settings: Settings,
    /// The data folder of its gate.
    pub(super) folder: DataFolder,
    /// Who runs in its sandbox.
    pub(super) agent: AgentId,
    /// What its gate knows.
    pub(super) known: Known,
}

impl Site {
    /// Makes it. `witness` is what declared names resolve to.
    pub(super) fn make(witness: &Witness) -> anyhow::Result<Self> {
        let place = folder::passing("exeat-doctor-")?;
        let upstream = Upstream::start()?;
        let known = Known {
            host: HOST.to_owned(),
            other: OTHER.to_owned(),
            plain: PLAIN.to_owned(),
            rebound: write_configuration(place.path(), witness, &upstream)?,
        };
        plant(place.path()).context("making a home folder")?;
        Ok(Self {
            settings: Settings::load(&place.path().join("exeat.toml"))?,
            folder: DataFolder::open(&place.path().join("data"))?,
            agent: AGENT.parse()?,
            known,
            upstream,
            place,
        })
    }

    /// The made-up home folder.
    pub(super) fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// The made-up project.
    pub(super) fn project(&self) -> PathBuf {
        self.home().join("project")
    }

    /// How many calls reached the server.
    pub(super) fn calls(&self) -> usize {
        self.upstream.count()
    }

    /// Tells the probes what was planted.
    pub(super) fn tell(&self, errand: &mut Errand) {
        let home = self.home();
        errand
            .private
            .extend(CREDENTIALS.iter().map(|name| home.join(name)));
        errand
            .kept
            .extend(kept_in_home().map(|name| home.join(name)));
        let kept = kept_in_project().chain(&REPOSITORY);
        errand
            .kept
            .extend(kept.map(|name| self.project().join(name)));
    }

    /// Ends the gate and waits for that, so that nothing of it outlives the folder.
    pub(super) fn end(self) -> anyhow::Result<()> {
        if let Some(client) = Client::connect(&self.folder)? {
            let status: Status = client.one(&Request::Status {}, &[])?;
            let pid = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::TERM).context("ending the doctor's gate")?;
            }
        }
        drop(self.folder.lock(PATIENCE)?);
        Ok(())
    }
}

/// Writes tools, rules and settings; returns the authorities that are this machine.
fn write_configuration(
    place: &Path,
    witness: &Witness,
    upstream: &Upstream,
) -> anyhow::Result<Vec<String>> {
    fs::create_dir(place.join("tools"))?;
    let mut rebound = Vec::new();
    let mut fixed = format!(
        "\"{HOST}:443\" = \"{0}\", \"{OTHER}:443\" = \"{0}\", \"{PLAIN}:80\" = \"{0}\"",
        upstream.address
    );
    for address in witness.tcp() {
        let port = address.port();
        for target in ways_to_write(address) {
            let host = format!("rebound-{}.test", rebound.len());
            write!(fixed, ", \"{host}:80\" = \"{target}\"")?;
            rebound.push(format!("{host}:80"));
        }
        // Listeners of both families may have the same port.
        let localhost = format!("localhost:{port}");
        if !rebound.contains(&localhost) {
            rebound.push(localhost);
        }
    }
    let origins = [
        format!("https://{HOST}"),
        format!("https://{OTHER}"),
        format!("http://{PLAIN}"),
    ];
    let bad = rebound
        .iter()
        .map(|authority| format!("http://{authority}"));
    for (number, origin) in origins.into_iter().chain(bad).enumerate() {
        let tool = format!(
            "[api]\nname = \"api{number}\"\norigin = \"{origin}\"\n[[tool]]\nname = \"ok\"\n\
             request = \"GET /ok\"\ncategory = \"read\"\ndescription = \"A page\"\n"
        );
        fs::write(place.join(format!("tools/api{number}.toml")), tool)?;
    }
    let rule = format!(
        "[[rule]]\nname = \"read\"\nagents = [\"{AGENT}\"]\ntools = [\"*\"]\neffect = \"allow\"\n"
    );
    fs::write(place.join("policy.toml"), rule)?;
    fs::write(place.join("root.pem"), &upstream.root_pem)?;
    let settings = format!(
        "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[console]\naddress = \"127.0.0.1:0\"\n\
         [agents.{AGENT}]\n[network]\nupstream-roots = [\"root.pem\"]\n\
         allow-private = [\"{HOST}:443\", \"{OTHER}:443\", \"{PLAIN}:80\"]\nconnect-to = {{ {fixed} }}\n"
    );
    fs::write(place.join("exeat.toml"), settings)?;
    Ok(rebound)
}

/// Addresses that all mean the same listener on loopback.
fn ways_to_write(listener: SocketAddr) -> Vec<String> {
    let hosts: &[&str] = if listener.is_ipv4() {
        &[
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
        ]
    } else {
        &["[::1]", "[::]"]
    };
    hosts
        .iter()
        .map(|host| format!("{host}:{}", listener.port()))
        .collect()
}

/// A home folder with a credential in every place where one can be, and with every file that runs later.
fn plant(place: &Path) -> io::Result<()> {
    let home = place.join("home");
    let project = home.join("project");
    for name in CREDENTIALS {
        let path = home.join(name);
        if is_file(name) {
            write(&path)?;
        } else {
            write(&path.join("canary"))?;
        }
    }
    let in_project = kept_in_project().chain(&REPOSITORY);
    let kept = kept_in_home().map(|name| (&home, name));
    for (folder, name) in kept.chain(in_project.map(|name| (&project, name))) {
        match name.strip_suffix('/') {
            Some(name) => fs::create_dir_all(folder.join(name))?,
            None if folder.join(name).exists() => {}
            None => write(&folder.join(name))?,
        }
    }
    fs::write(project.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    for folder in [".git/objects", ".git/refs"] {
        fs::create_dir_all(project.join(folder))?;
    }
    Ok(())
}

/// Whether a place of credentials usually is a file.
fn is_file(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let marks = [
        "credentials",
        "netrc",
        "authinfo",
        "npmrc",
        "yarnrc",
        "pypirc",
        "history",
    ];
    let dotted = last.trim_start_matches('.').contains('.') && !last.starts_with("com.");
    dotted || marks.iter().any(|mark| last.contains(mark))
}

fn write(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, CANARY)
}
