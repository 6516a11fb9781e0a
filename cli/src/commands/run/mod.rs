//! `exeat run`: a command in a sandbox whose only way out is the gate.
//!
//! First everything is made ready: how the command is held (`hold.rs`), a configuration where there is none
//! (`first.rs`), keys of the environment in custody (`keys.rs`). Then `seal.rs` starts it, `signals.rs` passes signals on,
//! and `summary.rs` says what came of it.

mod first;
mod hold;
mod keys;
mod seal;
mod signals;
mod signing;
mod summary;

use std::path::PathBuf;

use anyhow::Context as _;
use exeat_sandbox::Streams;

use super::Place;
use crate::{
    args::Run,
    env,
    settings::Settings,
    socket::Hold,
    ui::{self, Ending},
};
pub(in crate::commands) use seal::{Sealing, seal};

pub(super) fn run(place: &Place, order: Run) -> anyhow::Result<Ending> {
    let Some((settings, hold)) = ready(place, &order)? else {
        return Ok(Ending::Usage);
    };
    let agent = first::agent(&settings, &order)?;
    let settings = keys::offer(place, settings, &agent, keys::Answers::of(&order))?;
    if hold == Hold::Strict && !hold::is_tight(place, &settings, &agent, &order)? {
        return Ok(Ending::Refused);
    }
    let folder = place.folder(Some(&settings))?;
    let sealed = seal(Sealing {
        hold,
        write: order.write,
        ..Sealing::new(&settings, &folder, agent.clone(), order.command)?
    })?;
    if let Some(until) = sealed.observed_until {
        ui::say(format_args!(
            "observing `{agent}` until {until}: what needs no credential passes, and every receipt says so"
        ));
    }
    keys::tell_missing(&settings, &sealed.variables);
    signals::pass(sealed.running.signals())?;
    let status = sealed.running.wait()?;
    summary::tell(place, sealed.served, &agent);
    Ok(Ending::Of(u8::try_from(status).unwrap_or(u8::MAX)))
}

/// The configuration, made if need be, and how the command is held; nothing when it was refused for want of an answer.
fn ready(place: &Place, order: &Run) -> anyhow::Result<Option<(Settings, Hold)>> {
    let known = place
        .settings_if_any()?
        .map(|settings| named(settings, order));
    let known = known.transpose()?;
    let spoken = match (&known, &order.policy) {
        (_, Some(_)) => hold::Spoken::Rules,
        (Some(settings), None) => hold::Spoken::of(settings),
        (None, None) => hold::Spoken::Nothing,
    };
    let Some(hold) = hold::choose(order, spoken)? else {
        return Ok(None);
    };
    let settings = match known {
        Some(settings) => first::complete(settings, order, spoken)?,
        None => first::write(order)?,
    };
    Ok(Some((named(settings, order)?, hold)))
}

/// The same settings, with the rules that this run names.
fn named(settings: Settings, order: &Run) -> anyhow::Result<Settings> {
    let rules = order.policy.as_ref().map(std::path::absolute).transpose();
    let rules: Option<PathBuf> = rules.context("cannot find the rules")?;
    Ok(settings.with_rules(rules))
}

/// The streams, the folder and the environment of this process, which the command takes over.
impl<'a> Sealing<'a> {
    fn new(
        settings: &'a Settings,
        folder: &'a crate::folder::DataFolder,
        agent: exeat_types::AgentId,
        argv: Vec<std::ffi::OsString>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            settings,
            folder,
            agent,
            hold: Hold::Declared,
            argv,
            env: env::all(),
            workdir: std::env::current_dir().context("cannot find the working folder")?,
            streams: Streams::inherit()?,
            write: Vec::new(),
        })
    }
}
