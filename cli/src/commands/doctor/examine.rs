//! One sandbox as `exeat run` makes it, with the doctor's other half as its command.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use exeat_sandbox::{
    CREDENTIALS, Streams,
    doctor::{Check, DOCTOR, Errand, namespaces},
    kept_in_home, state_folders,
};
use exeat_types::{AgentId, random_bytes};

use super::{
    inside::{Assignment, Report},
    known::Known,
    site::Site,
    witness::Witness,
};
use crate::{
    args::Run,
    commands::run::{Sealing, seal},
    env,
    folder::DataFolder,
    settings::Settings,
    socket::{Client, Hold, Request, Status},
};

/// Variables in which a credential is planted, and what is put around it.
const PLANTED: [(&str, &str, &str); 6] = [
    ("GITHUB_TOKEN", "", ""),
    ("AWS_SECRET_ACCESS_KEY", "", ""),
    ("EXEAT_DOCTOR_PASSWORD", "", ""),
    ("DATABASE_URL", "postgres://doctor:", "@192.0.2.1/doctor"),
    ("HTTPS_PROXY", "http://doctor:", "@192.0.2.1:3128"),
    ("SSH_AUTH_SOCK", "/tmp/", ""),
];

/// Whose sandbox is looked at.
pub(super) struct Ground<'a> {
    /// The configuration of its gate.
    pub(super) settings: &'a Settings,
    /// The data folder of its gate.
    pub(super) folder: &'a DataFolder,
    /// Who runs in it.
    pub(super) agent: &'a AgentId,
    /// How the command is held.
    pub(super) hold: Hold,
    /// What is about to run in such a sandbox, if anything is.
    pub(super) order: Option<&'a Run>,
    /// The made-up surroundings, if it is the doctor's own.
    pub(super) site: Option<&'a Site>,
}

/// Tries everything in a sandbox, and looks who came out.
pub(super) fn examine(ground: &Ground<'_>, witness: &Witness) -> anyhow::Result<Vec<Check>> {
    let (canary, planted) = canaries()?;
    let (assignment_pipe, mut assignment_writer) = io::pipe()?;
    let (mut report, report_writer) = io::pipe()?;
    // A descriptor that a careless parent leaves open.
    let stray = File::open("/dev/null")?;
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty())?;
    let home = match ground.site {
        Some(site) => Some(site.home()),
        None => env::variable("HOME").map(PathBuf::from),
    };
    let mut environment: Vec<_> = env::all()
        .into_iter()
        .filter(|(name, _)| name != "HOME")
        .collect();
    environment.extend(planted);
    environment.extend(
        home.clone()
            .map(|home| ("HOME".into(), home.into_os_string())),
    );
    let workdir = match ground.site {
        Some(site) => site.project(),
        None => std::env::current_dir().context("cannot find the working folder")?,
    };
    let sealed = seal(Sealing {
        settings: ground.settings,
        folder: ground.folder,
        agent: ground.agent.clone(),
        hold: ground.hold,
        argv: vec![program()?, DOCTOR.into()],
        env: environment,
        write: writes(ground.order, home.as_deref()),
        workdir,
        streams: Streams {
            stdin: assignment_pipe.into(),
            stdout: report_writer.into(),
            stderr: File::options().write(true).open("/dev/null")?.into(),
        },
    })?;
    drop(stray);
    let gate = status(ground.folder)?;
    let known = ground.site.map(|site| site.known.clone());
    let assignment = assignment(ground, witness, &gate, (home.as_deref(), canary, known));
    assignment_writer.write_all(&serde_json::to_vec(&assignment)?)?;
    drop(assignment_writer);
    let mut text = Vec::new();
    report.read_to_end(&mut text)?;
    let code = sealed.running.wait()?;
    drop(sealed.served);
    if code != 0 {
        bail!("the probes ended with status {code}");
    }
    let found: Report = serde_json::from_slice(&text).context("cannot read what was found")?;
    let mut checks = found.checks;
    checks.extend(witness.visits()?);
    Ok(checks)
}

/// What the command of an order may change: what the order names, and the program's own state.
fn writes(order: Option<&Run>, home: Option<&Path>) -> Vec<PathBuf> {
    let Some(order) = order else {
        return Vec::new();
    };
    let mut write = order.write.clone();
    if let (Some(program), Some(home)) = (order.command.first(), home) {
        write.extend(state_folders(program, home));
    }
    write
}

/// This program, by a path that is good inside.
fn program() -> anyhow::Result<OsString> {
    Ok(std::env::current_exe()
        .context("cannot find this program")?
        .into_os_string())
}

fn status(folder: &DataFolder) -> anyhow::Result<Status> {
    let client = Client::connect(folder)?.context("the gate went away")?;
    client.one(&Request::Status {}, &[])
}

/// A value that no variable has, and variables that have it.
fn canaries() -> anyhow::Result<(String, Vec<(OsString, OsString)>)> {
    let noise: [u8; 16] = random_bytes()?;
    let canary = format!("{:032x}", u128::from_ne_bytes(noise));
    let planted = PLANTED
        .map(|(name, before, after)| (name.into(), format!("{before}{canary}{after}").into()));
    Ok((canary, planted.into()))
}

fn assignment(
    ground: &Ground<'_>,
    witness: &Witness,
    gate: &Status,
    (home, canary, known): (Option<&Path>, String, Option<Known>),
) -> Assignment {
    let mut errand = Errand {
        namespaces: namespaces(),
        gate: Some(gate.pid),
        hidden: vec![ground.folder.path().to_path_buf()],
        sockets: vec![ground.folder.socket()],
        canaries: vec![canary],
        ..Errand::default()
    };
    witness.tell(&mut errand);
    let own = gate.listeners.iter().chain(&gate.metrics);
    let mut own: Vec<SocketAddr> = own.filter_map(|text| on_loopback(text)).collect();
    own.extend(
        gate.console_port
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
    );
    errand.tcp.extend(&own);
    let deciding = ground.settings.watched();
    let deciding = deciding.iter().flat_map(std::path::absolute);
    match (ground.site, home) {
        (Some(site), _) => {
            site.tell(&mut errand);
            errand.kept.extend(deciding);
        }
        (None, Some(home)) => {
            errand.kept_if_there.extend(deciding);
            errand
                .private
                .extend(CREDENTIALS.iter().map(|name| home.join(name)));
            errand
                .kept_if_there
                .extend(kept_in_home().map(|name| home.join(name)));
        }
        (None, None) => errand.kept_if_there.extend(deciding),
    }
    let mut ports: Vec<u16> = own.iter().map(SocketAddr::port).collect();
    if ground.site.is_none() {
        // The doctor's own gate declares the other listeners, to see that declaring them is not enough.
        ports.extend(witness.tcp().iter().map(SocketAddr::port));
    }
    Assignment {
        errand,
        ports,
        known,
    }
}

/// A listener's address as one would reach it on this machine.
fn on_loopback(text: &str) -> Option<SocketAddr> {
    let mut address: SocketAddr = text.split(' ').find_map(|word| word.parse().ok())?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    Some(address)
}
