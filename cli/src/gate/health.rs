//! What the gate finds when it looks at itself. `exeat doctor` looks from outside; this is for the page.

use exeat_console::{Check, CheckState, ListenerShown};
use exeat_ledger::Filter;
use exeat_types::{Regime, Seal};

use super::desk::{Desk, Running};
use crate::{
    settings::{Master, Mode, Settings},
    socket::{Answer as _, Status},
};

/// Everything that is looked at.
pub(super) async fn checks(desk: &Desk, running: &Running) -> Vec<Check> {
    let mut checks = vec![ledger(running).await];
    if let Some(settings) = desk.state().settings() {
        checks.push(anchor(&settings));
        checks.push(master(&settings));
        checks.push(credentials(running, &settings));
        checks.push(sealing(&settings));
    }
    checks.push(keys(desk).await);
    checks.push(observed(running));
    checks.push(people(running));
    checks
}

/// Where the gate listens, in the words of the configuration.
pub(super) fn listeners(settings: &Settings, status: &Status) -> Vec<ListenerShown> {
    let modes = settings
        .listeners
        .iter()
        .map(|listener| match listener.mode {
            Mode::Explicit => "Proxy",
            Mode::Transparent => "Transparent proxy",
            Mode::Dns => "Names",
        });
    let shown = |(purpose, address): (&str, &String)| ListenerShown {
        purpose: purpose.to_owned(),
        address: address.clone(),
    };
    let mut all: Vec<_> = modes.zip(&status.listeners).map(shown).collect();
    all.extend(
        status
            .metrics
            .iter()
            .map(|address| shown(("Metrics", address))),
    );
    all
}

fn found(name: &str, state: CheckState, found: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        state,
        found: found.into(),
        help: None,
    }
}

/// Says what to do about something.
trait Helped {
    fn help(self, text: &str) -> Self;
}

impl Helped for Check {
    fn help(mut self, text: &str) -> Self {
        self.help = Some(text.to_owned());
        self
    }
}

async fn ledger(running: &Running) -> Check {
    let ledger = running.gate.ledger().clone();
    let newest = Filter {
        limit: Some(1),
        ..Filter::default()
    };
    let read = tokio::task::spawn_blocking(move || ledger.list(&newest)).await;
    match read {
        Ok(Ok(_)) => found(
            "Ledger",
            CheckState::Fine,
            "receipts are written and can be read",
        ),
        Ok(Err(error)) => found("Ledger", CheckState::Broken, error.to_string())
            .help("look at the gate's log; no call passes while receipts cannot be written"),
        Err(_panicked) => found("Ledger", CheckState::Broken, "it could not be read"),
    }
}

fn anchor(settings: &Settings) -> Check {
    match &settings.ledger.anchor {
        Some(_) => found(
            "Anchor",
            CheckState::Fine,
            "checkpoints are told to somebody else",
        ),
        None => found(
            "Anchor",
            CheckState::Weak,
            "nobody else is told each checkpoint",
        )
        .help(
            "without `[ledger] anchor` nothing proves that the end of the journal was not cut off",
        ),
    }
}

fn master(settings: &Settings) -> Check {
    let told = settings.master.told();
    match settings.master {
        Master::KeyFile => found("Master key", CheckState::Weak, told)
            .help("`[custody] master` can name a TPM, a keyring, a token or a passphrase"),
        Master::Passphrase | Master::Keyring | Master::Tpm | Master::Pkcs11 => {
            found("Master key", CheckState::Fine, told)
        }
    }
}

fn credentials(running: &Running, settings: &Settings) -> Check {
    let rules = running.gate.rules();
    let lost: Vec<&str> = rules.unreachable.keys().map(|id| id.as_str()).collect();
    if !lost.is_empty() {
        let text = format!("cannot be had: {}", lost.join(", "));
        return found("Credentials", CheckState::Broken, text)
            .help("their calls are refused; the gate's log says why");
    }
    let absent: Vec<&str> = settings
        .credentials
        .keys()
        .filter(|id| rules.custody.describe(id).is_none())
        .map(|id| id.as_str())
        .collect();
    if !absent.is_empty() {
        let text = format!("declared, without a value: {}", absent.join(", "));
        return found("Credentials", CheckState::Weak, text)
            .help("`exeat secret set` seals one, `exeat connect` has a person grant one");
    }
    let text = match settings.credentials.len() {
        0 => "none declared".to_owned(),
        count => format!("{count} declared, all can be used"),
    };
    found("Credentials", CheckState::Fine, text)
}

fn sealing(settings: &Settings) -> Check {
    let open = settings
        .listeners
        .iter()
        .filter(|listener| listener.mode != Mode::Dns && listener.seal == Seal::None)
        .count();
    if open == 0 {
        return found(
            "Sealing",
            CheckState::Fine,
            "no listener takes agents that are not sealed",
        );
    }
    let text = format!("agents on {open} of the listeners may have other ways out");
    found("Sealing", CheckState::Weak, text)
        .help("`exeat run` seals an agent; receipts say which calls were not")
}

async fn keys(desk: &Desk) -> Check {
    let Ok(entries) = desk.signers().await else {
        return found("Signers", CheckState::Broken, "they could not be looked at");
    };
    let broken: Vec<String> = entries
        .iter()
        .filter_map(|entry| Some(format!("{}: {}", entry.name, entry.problem.as_ref()?)))
        .collect();
    if broken.is_empty() {
        let text = match entries.len() {
            0 => "none declared".to_owned(),
            count => format!("{count} declared, all can sign"),
        };
        return found("Signers", CheckState::Fine, text);
    }
    found("Signers", CheckState::Broken, broken.join("; ")).help("calls that need them are refused")
}

fn observed(running: &Running) -> Check {
    let now = running.gate.clock().now();
    let regimes = running.sandboxes.roll().regimes();
    let count = regimes
        .iter()
        .filter(|regime: &&Regime| regime.observes(now))
        .count();
    if count == 0 {
        return found("Observing", CheckState::Fine, "no sandbox is only observed");
    }
    let text = format!("{count} of the sandboxes are observed: what needs no credential passes");
    found("Observing", CheckState::Weak, text)
        .help("`exeat learn` proposes rules; it ends after seven days")
}

fn people(running: &Running) -> Check {
    let keys = running.gate.ledger().passkeys();
    let mut users: Vec<&str> = keys.iter().map(|(_, key)| key.user.as_str()).collect();
    let count = users.len();
    users.sort_unstable();
    users.dedup();
    let text = match (count, users.len()) {
        (1, _) => "one passkey".to_owned(),
        (count, 1) => format!("{count} passkeys of one person"),
        (count, people) => format!("{count} passkeys of {people} people"),
    };
    if count > 1 {
        return found("Passkeys", CheckState::Fine, text);
    }
    found("Passkeys", CheckState::Weak, text)
        .help("a second passkey is the way back in when the first one is lost")
}
