//! Reads `exeat.toml` into values that keep their places. Types and single values are checked here, relations in `check.rs`.

use std::{net::SocketAddr, ops::Range};

use exeat_custody::{Kind, Shape, VaultServer};
use exeat_policy::Approver;
use exeat_types::{
    AgentId, CredentialId, Origin, Report, Source,
    config::{Document, Item, Table},
};

use super::{
    Anchor, Master, MasterDevices, credentials, notify,
    raw_console::{self, RawConsole},
    raw_custody,
    raw_listeners::{self, RawListener},
    raw_network::{self, RawNetwork},
    signers::{self, RawSigner},
    vault,
};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Placed<T> {
    pub(super) fn new(item: &Item<'_>, value: T) -> Self {
        Self {
            value,
            span: item.span(),
        }
    }
}

#[derive(Default)]
pub(super) struct Raw {
    pub(super) listeners: Vec<RawListener>,
    pub(super) agents: Vec<RawAgent>,
    pub(super) credentials: Vec<RawCredential>,
    pub(super) signers: Vec<RawSigner>,
    pub(super) vault: Option<VaultServer>,
    pub(super) network: RawNetwork,
    pub(super) metrics: Option<Placed<SocketAddr>>,
    pub(super) console: Option<RawConsole>,
    pub(super) notify: Vec<Placed<exeat_console::Channel>>,
    pub(super) ledger_path: Option<String>,
    pub(super) anchor: Option<Anchor>,
    pub(super) tools: Option<String>,
    pub(super) policy_file: Option<String>,
    pub(super) master: Option<Master>,
    pub(super) master_devices: MasterDevices,
    pub(super) data: Option<String>,
}

pub(super) struct RawAgent {
    pub(super) id: AgentId,
    pub(super) groups: Vec<Placed<String>>,
    pub(super) may_ask: Option<Vec<Placed<String>>>,
    pub(super) granted_by: Option<Approver>,
}

pub(super) struct RawCredential {
    pub(super) id: Placed<CredentialId>,
    pub(super) kind: Option<Kind>,
    pub(super) origins: Vec<Placed<Origin>>,
    pub(super) secret: Option<Placed<String>>,
    /// The name of a signer.
    pub(super) signer: Option<Placed<String>>,
    pub(super) shape: Shape,
    pub(super) variables: Vec<Placed<String>>,
}

/// Sections that a later version reads. They are named, so that nobody believes them to be in force.
const LATER: [(&str, &str); 1] = [(
    "mcp",
    "the MCP door is not in this version; remove the section",
)];

pub(super) fn read(source: &Source, report: &mut Report) -> Raw {
    let document = Document::parse(source, report);
    let root = document.root();
    let mut raw = Raw::default();
    for item in root
        .get("listener")
        .map(|item| item.items(report))
        .unwrap_or_default()
    {
        if let Some(table) = item.table(report) {
            raw.listeners.push(raw_listeners::read(&table, report));
        }
    }
    section(&root, "agents", report, |table, report| {
        raw.agents = agents(table, report)
    });
    section(&root, "credentials", report, |table, report| {
        raw.credentials = credentials::read(table, report)
    });
    section(&root, "signers", report, |table, report| {
        raw.signers = signers::read(table, report)
    });
    section(&root, "vault", report, |table, report| {
        raw.vault = vault::server(table, report);
        table.finish(report);
    });
    section(&root, "network", report, |table, report| {
        raw.network = raw_network::read(table, report)
    });
    section(&root, "metrics", report, |table, report| {
        raw.metrics = table
            .need("address", report)
            .and_then(|item| placed(&item, report));
        table.finish(report);
    });
    if let Some(item) = root.get("notify") {
        raw.notify = notify::read(&item, report);
    }
    section(&root, "ledger", report, |table, report| {
        raw.ledger_path = text(table, "path", report);
        raw.anchor = table.get("anchor").and_then(|item| anchor(&item, report));
        table.finish(report);
    });
    section(&root, "policy", report, |table, report| {
        raw.tools = text(table, "tools", report);
        raw.policy_file = text(table, "file", report);
        table.finish(report);
    });
    section(&root, "custody", report, |table, report| {
        (raw.master, raw.master_devices) = raw_custody::read(table, report);
    });
    section(&root, "data", report, |table, report| {
        raw.data = text(table, "folder", report);
        table.finish(report);
    });
    section(&root, "console", report, |table, report| {
        raw.console = Some(raw_console::read(table, report));
    });
    for (name, message) in LATER {
        if let Some(item) = root.get(name) {
            item.problem(report, format!("`[{name}]` cannot be used"))
                .help(message);
        }
    }
    root.finish(report);
    raw
}

fn section(
    root: &Table<'_>,
    name: &'static str,
    report: &mut Report,
    read: impl FnOnce(&Table<'_>, &mut Report),
) {
    if let Some(table) = root.get(name).and_then(|item| item.table(report)) {
        read(&table, report);
    }
}

const GRANTED_BY: [(&str, Approver); 2] =
    [("passkey", Approver::Passkey), ("local", Approver::Local)];

fn agents(table: &Table<'_>, report: &mut Report) -> Vec<RawAgent> {
    let mut agents = Vec::new();
    for (name, span, item) in table.entries() {
        let id = name_of::<AgentId>(table, name, &span, report);
        let Some(inner) = item.table(report) else {
            continue;
        };
        let groups = texts(&inner, "groups", report);
        let may_ask = inner.get("may-ask").is_some();
        let may_ask = may_ask.then(|| texts(&inner, "may-ask", report));
        let granted_by = inner.get("granted-by");
        let granted_by = granted_by.and_then(|item| item.word(report, &GRANTED_BY));
        inner.finish(report);
        agents.extend(id.map(|id| RawAgent {
            id: id.value,
            groups,
            may_ask,
            granted_by,
        }));
    }
    agents
}

fn anchor(item: &Item<'_>, report: &mut Report) -> Option<Anchor> {
    let table = item.table(report)?;
    let file = table.get("file");
    let command = table.get("command");
    if let Some(url) = table.get("url") {
        url.problem(report, "anchors at a URL are not in this version")
            .help("use `command` with a program that sends it");
        return None;
    }
    table.finish(report);
    match (file, command) {
        (Some(file), None) => file.text(report).map(|path| Anchor::File(path.into())),
        (None, Some(command)) => {
            let words = command.items(report);
            let words: Option<Vec<String>> = words
                .iter()
                .map(|word| word.text(report).map(str::to_owned))
                .collect();
            let words = words?;
            if words.is_empty() {
                command.problem(report, "expected a program and its arguments");
                return None;
            }
            Some(Anchor::Command(words))
        }
        (Some(_), Some(_)) | (None, None) => {
            item.problem(report, "an anchor has either `file` or `command`");
            None
        }
    }
}

pub(super) fn placed<T: std::str::FromStr<Err: std::fmt::Display>>(
    item: &Item<'_>,
    report: &mut Report,
) -> Option<Placed<T>> {
    Some(Placed::new(item, item.parse(report)?))
}

pub(super) fn text(table: &Table<'_>, key: &'static str, report: &mut Report) -> Option<String> {
    table.get(key)?.text(report).map(str::to_owned)
}

pub(super) fn texts<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &Table<'_>,
    key: &'static str,
    report: &mut Report,
) -> Vec<Placed<T>> {
    let items = table
        .get(key)
        .map(|item| item.items(report))
        .unwrap_or_default();
    items
        .iter()
        .filter_map(|item| placed(item, report))
        .collect()
}

/// A key of the user's, parsed; what does not parse is reported at the key.
pub(super) fn name_of<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &Table<'_>,
    name: &str,
    span: &Range<usize>,
    report: &mut Report,
) -> Option<Placed<T>> {
    match name.parse() {
        Ok(value) => Some(Placed {
            value,
            span: span.clone(),
        }),
        Err(problem) => {
            report.at(table.source(), span.clone(), problem.to_string());
            None
        }
    }
}
