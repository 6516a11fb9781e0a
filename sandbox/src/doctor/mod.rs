//! What `exeat doctor` tries inside a sandbox: every other way out that we know of.
//!
//! Probes try to get out and say what happened. They are made so that nothing leaves the machine even where the seal is
//! broken: targets are addresses set aside for documentation (RFC 5737, RFC 3849) and listeners that the caller opened
//! outside, and nothing is sent at all where another network device than loopback exists. A probe that could not be made
//! is open. What is asked of the gate itself is not tried here, but by the caller, which knows HTTP.

mod files;
mod kernel;
mod names;
mod network;
mod processes;
mod syscalls;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// The hidden argument that makes the program try to get out.
pub const DOCTOR: &str = "__doctor";

/// The namespaces that a sandbox has of its own, as `/proc/PID/ns` calls them.
const NAMESPACES: [&str; 6] = ["user", "net", "mnt", "pid", "ipc", "uts"];

/// Whether a way out is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It was tried and led nowhere.
    Closed,
    /// It led somewhere, or could not be tried.
    Open,
}

/// One way out, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name.
    pub id: String,
    /// What came of it.
    pub state: State,
    /// What was tried, or what was found.
    pub detail: String,
}

impl Check {
    /// A way out that led nowhere.
    pub fn closed(id: &str, detail: impl Into<String>) -> Self {
        Self::new(id, State::Closed, detail.into())
    }

    /// A way out that led somewhere, or could not be tried.
    pub fn open(id: &str, detail: impl Into<String>) -> Self {
        Self::new(id, State::Open, detail.into())
    }

    /// Closed when nothing was found; else the findings are the detail.
    pub fn of(id: &str, found: &[String], closed: impl Into<String>) -> Self {
        if found.is_empty() {
            Self::closed(id, closed)
        } else {
            Self::open(id, found.join("; "))
        }
    }

    fn new(id: &str, state: State, detail: String) -> Self {
        Self {
            id: id.to_owned(),
            state,
            detail,
        }
    }
}

/// What the probes need to know of the world outside. Everything in it is made up for the purpose or a path, never a
/// secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Errand {
    /// The namespaces outside, by kind; see [`namespaces`].
    pub namespaces: BTreeMap<String, String>,
    /// The process of the gate.
    pub gate: Option<u32>,
    /// TCP listeners outside, on loopback.
    pub tcp: Vec<SocketAddr>,
    /// UDP sockets outside, on loopback.
    pub udp: Vec<SocketAddr>,
    /// Names of abstract unix sockets that listen outside.
    pub abstract_sockets: Vec<String>,
    /// Unix sockets outside, by path, that must not answer.
    pub sockets: Vec<PathBuf>,
    /// Folders that must look empty, or not be there.
    pub hidden: Vec<PathBuf>,
    /// Files that must not be readable, and folders in which nothing must be.
    pub private: Vec<PathBuf>,
    /// Files that must not be writable, and not come to be where they do not exist.
    pub kept: Vec<PathBuf>,
    /// Files that are as `kept` ones, but must not even be tried to be made.
    pub kept_if_there: Vec<PathBuf>,
    /// Values that must not be in the environment.
    pub canaries: Vec<String>,
    /// The environment that the probe found.
    #[serde(skip)]
    pub environment: Vec<(String, String)>,
}

/// The namespaces of this process, by kind.
pub fn namespaces() -> BTreeMap<String, String> {
    let read = |kind: &&str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        Some(((*kind).to_owned(), link.to_string_lossy().into_owned()))
    };
    NAMESPACES.iter().filter_map(read).collect()
}

/// The numbers of the open descriptors of this process. To be called before it opens any.
pub fn descriptors() -> BTreeSet<u32> {
    files::descriptors()
}

/// Tries everything. `inherited` are the descriptors that this process was started with. Blocks for a moment, and longer
/// where something is open.
pub fn probe(errand: &Errand, inherited: &BTreeSet<u32>) -> Vec<Check> {
    let mut checks = network::probe(errand);
    checks.extend(names::probe());
    checks.extend(kernel::probe());
    checks.extend(processes::probe(errand));
    checks.extend(files::probe(errand, inherited));
    checks
}
