//! When each agent began to be observed. A week later it is over, however often it is asked for: what an agent needs is
//! known by then, and rules can say it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use exeat_types::{AgentId, Timestamp};

use crate::{folder::write_private, socket::Failure};

/// How long an agent is observed.
const LENGTH: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The file in the data folder.
const FILE: &str = "observed.json";

/// Until when this agent may be observed, beginning now if it never was. The caller lets no second one in meanwhile.
///
/// # Errors
/// When its week is over, or the file cannot be read or written: without a beginning there is no end.
pub(super) fn begin(folder: &Path, agent: &AgentId, now: Timestamp) -> Result<Timestamp, Failure> {
    let mut begun = read(folder)?;
    let until = match begun.get(agent) {
        Some(start) => start.after(LENGTH),
        None => {
            begun.insert(agent.clone(), now);
            write(folder, &begun)?;
            now.after(LENGTH)
        }
    };
    if now < until {
        return Ok(until);
    }
    Err(
        Failure::new(format!("`{agent}` was observed for 7 days, until {until}")).help(format!(
            "`exeat receipt list --agent {agent}` shows what it asked for; allow what it needs in policy.toml, and run it \
             without --observe"
        )),
    )
}

fn read(folder: &Path) -> anyhow::Result<BTreeMap<AgentId, Timestamp>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let shown = path.display();
    let text = std::fs::read(&path).with_context(|| format!("cannot read `{shown}`"))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot read `{shown}`"))
}

fn write(folder: &Path, begun: &BTreeMap<AgentId, Timestamp>) -> anyhow::Result<()> {
    let path = folder.join(FILE);
    let text = serde_json::to_vec(begun).context("cannot write when observing began")?;
    write_private(&path, &text).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use exeat_types::{Clock as _, FakeClock};

    use super::*;

    #[test]
    fn a_week_after_it_began_observing_is_over_for_that_agent() {
        let place = tempfile::tempdir().unwrap();
        let clock = FakeClock::at(Timestamp::from_millis(1_800_000_000_000));
        let agent = |name| AgentId::new(name).unwrap();
        let begin = |name| begin(place.path(), &agent(name), clock.now());
        let until = begin("claude").unwrap();
        clock.advance(LENGTH - Duration::from_millis(1));
        assert_eq!(begin("claude").unwrap(), until);
        let later = begin("codex").unwrap();
        clock.advance(Duration::from_millis(1));
        let over = begin("claude").unwrap_err();
        assert!(over.message.contains("was observed for 7 days"), "{over}");
        assert!(over.help.unwrap().contains("without --observe"));
        assert_eq!(begin("codex").unwrap(), later);
    }

    #[test]
    fn a_broken_file_ends_observing_instead_of_beginning_anew() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(FILE), "{").unwrap();
        let agent = AgentId::new("claude").unwrap();
        let refused = begin(place.path(), &agent, Timestamp::from_millis(1)).unwrap_err();
        assert!(refused.message.contains("cannot read"), "{refused}");
    }
}
