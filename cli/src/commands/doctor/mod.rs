//! `exeat doctor`: tests this machine, and from inside a sandbox every other way out that we know of.
//!
//! Two sandboxes are looked at: one of the operator's gate, as the agent would get it, and one of a gate that is made for
//! the purpose (`site.rs`), where names and files can be planted. `machine.rs` looks from outside, `inside.rs` is what
//! runs in the sandboxes, `witness.rs` listens for who gets out. What was found is signed into the ledger.

mod advice;
mod ask;
mod examine;
mod inside;
mod known;
mod machine;
mod site;
mod through;
mod witness;

use exeat_sandbox::doctor::{Check, State};
use exeat_types::{AgentId, Clock as _, SystemClock};
use serde_json::json;

use super::{Place, agent_of};
use crate::{
    args::{Doctor, Run},
    env,
    folder::DataFolder,
    settings::Settings,
    socket::{Hold, Request, SelfTest},
    ui::{self, Ending, Output, Paint},
};
use examine::{Ground, examine};
pub(crate) use inside::run as inside;
use site::Site;
use witness::{Witness, folders_of_sockets};

pub(super) fn doctor(place: &Place, order: &Doctor) -> anyhow::Result<Ending> {
    let mut findings = Findings::default();
    findings.extend(machine::kernel(SystemClock::new().now()));
    let witness = witness()?;
    let own = own(place, order, &mut findings)?;
    if let Some(own) = &own {
        findings.extend(machine::folder(place, &own.settings, &own.folder));
        findings.examine(&own.ground(), &witness);
    }
    let site = Site::make(&witness)?;
    findings.examine(
        &Ground {
            settings: &site.settings,
            folder: &site.folder,
            agent: &site.agent,
            hold: Hold::Declared,
            order: None,
            site: Some(&site),
        },
        &witness,
    );
    findings.count_calls(&site);
    let ended = site.end();
    if let Some(own) = &own {
        findings.record(place, own);
    }
    ended?;
    findings.print(place.output)
}

/// The open checks of the machine and of the sandbox that an order gets on the gate of these settings. It takes a moment.
///
/// # Errors
/// When the listeners that watch for who gets out cannot be made.
pub(super) fn open_checks(
    place: &Place,
    settings: &Settings,
    agent: &AgentId,
    order: &Run,
) -> anyhow::Result<Vec<Check>> {
    let mut findings = Findings::default();
    findings.extend(machine::kernel(SystemClock::new().now()));
    findings.extend(vec![machine::environment(settings)]);
    let folder = place.folder(Some(settings))?;
    let ground = Ground {
        settings,
        folder: &folder,
        agent,
        hold: Hold::Strict,
        order: Some(order),
        site: None,
    };
    findings.examine(&ground, &witness()?);
    let open = |check: &Check| check.state == State::Open;
    Ok(findings.checks.into_iter().filter(open).collect())
}

fn witness() -> anyhow::Result<Witness> {
    let runtime = folders_of_sockets(env::variable("XDG_RUNTIME_DIR").map(Into::into));
    let folders: Vec<_> = runtime.iter().map(AsRef::as_ref).collect();
    Witness::open(&folders)
}

/// The operator's own.
struct Own {
    settings: Settings,
    folder: DataFolder,
    agent: AgentId,
}

impl Own {
    fn ground(&self) -> Ground<'_> {
        Ground {
            settings: &self.settings,
            folder: &self.folder,
            agent: &self.agent,
            hold: Hold::Declared,
            order: None,
            site: None,
        }
    }
}

/// The operator's configuration, if there is one with an agent in it.
fn own(place: &Place, order: &Doctor, findings: &mut Findings) -> anyhow::Result<Option<Own>> {
    let id = "configuration";
    let Some(settings) = place.settings_if_any()? else {
        findings.add(Check::closed(
            id,
            "none; a gate made for the purpose is looked at",
        ));
        return Ok(None);
    };
    let file = settings.file.display().to_string();
    if settings.agents.is_empty() && order.agent.is_none() {
        findings.add(Check::closed(id, format!("`{file}`, without an agent yet")));
        return Ok(None);
    }
    let agent = agent_of(&settings, order.agent.as_ref())?;
    let folder = place.folder(Some(&settings))?;
    findings.add(Check::closed(id, format!("`{file}`, agent `{agent}`")));
    Ok(Some(Own {
        settings,
        folder,
        agent,
    }))
}

/// Every check once, in the order they came.
#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
}

impl Findings {
    fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            self.add(check);
        }
    }

    /// A check that was made twice is open if it was once.
    fn add(&mut self, check: Check) {
        let Some(known) = self.checks.iter_mut().find(|known| known.id == check.id) else {
            self.checks.push(check);
            return;
        };
        match (known.state, check.state) {
            (_, State::Closed) => {}
            (State::Closed, State::Open) => *known = check,
            (State::Open, State::Open) if known.detail.contains(&check.detail) => {}
            (State::Open, State::Open) => {
                known.detail = format!("{}; {}", known.detail, check.detail)
            }
        }
    }

    /// Looks at a sandbox. One that cannot be made is open, like everything that was to be tried in it.
    fn examine(&mut self, ground: &Ground<'_>, witness: &Witness) {
        match examine(ground, witness) {
            Ok(checks) => {
                self.add(Check::closed("sandbox", "made, and everything tried in it"));
                self.extend(checks);
            }
            Err(error) => self.add(Check::open("sandbox", format!("{error:#}"))),
        }
    }

    /// The server of the doctor's gate was meant to be called once.
    fn count_calls(&mut self, site: &Site) {
        let calls = site.calls();
        self.add(if calls == 1 {
            Check::closed(
                "calls-upstream",
                "one call was declared and allowed, and one arrived",
            )
        } else {
            Check::open(
                "calls-upstream",
                format!("{calls} calls arrived where one was allowed"),
            )
        });
    }

    /// Signs what was found into the ledger. That this fails is a finding too.
    fn record(&mut self, place: &Place, own: &Own) {
        let ids = |state: State| {
            let of = self.checks.iter().filter(move |check| check.state == state);
            of.map(|check| check.id.clone()).collect()
        };
        let test = SelfTest {
            agent: own.agent.clone(),
            passed: ids(State::Closed),
            failed: ids(State::Open),
        };
        let asked = place
            .gate()
            .and_then(|gate| gate.one::<()>(&Request::SelfTest(test), &[]));
        self.add(match asked {
            Ok(()) => Check::closed("record", "signed into the ledger as a self-test"),
            Err(error) => Check::open("record", format!("{error:#}")),
        });
    }

    fn print(&self, output: Output) -> anyhow::Result<Ending> {
        match output {
            Output::Json => ui::json(&json!({ "checks": self.checks }))?,
            Output::Text => ui::data(self.text())?,
        }
        let all_closed = self.checks.iter().all(|check| check.state == State::Closed);
        Ok(if all_closed {
            Ending::Done
        } else {
            Ending::Refused
        })
    }

    fn text(&self) -> String {
        let paint = Paint::on_stdout();
        let width = self
            .checks
            .iter()
            .map(|check| check.id.len())
            .max()
            .unwrap_or_default();
        let mut lines = Vec::new();
        for check in &self.checks {
            let (mark, note) = match check.state {
                State::Closed => (paint.green("closed"), None),
                State::Open => (paint.red("OPEN  "), Some(advice::about(&check.id))),
            };
            lines.push(format!("{mark}  {:<width$}  {}", check.id, check.detail));
            lines.extend(note.map(|note| format!("        {:<width$}  -> {note}", "")));
        }
        let open = self
            .checks
            .iter()
            .filter(|check| check.state == State::Open)
            .count();
        let verdict = match open {
            0 => paint.green("all closed"),
            open => paint.red(&format!("{open} open")),
        };
        lines.push(format!("{} checks, {verdict}", self.checks.len()));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(checks: &[Check], expect: &Check) {
        let mut findings = Findings::default();
        findings.extend(checks.iter().cloned());
        assert_eq!(findings.checks, std::slice::from_ref(expect));
    }

    #[test]
    fn a_check_that_was_open_once_stays_open() {
        let (closed, open) = (
            Check::closed("udp", "refused"),
            Check::open("udp", "answered"),
        );
        check(&[closed.clone(), open.clone()], &open);
        check(&[open.clone(), closed], &open);
        let other = Check::open("udp", "silence");
        check(&[open, other], &Check::open("udp", "answered; silence"));
    }

    #[test]
    fn every_open_check_comes_with_advice() {
        assert!(advice::about("clock").contains("set the clock"));
        assert!(advice::about("anything-else").contains("does not hold"));
    }
}
