//! `exeat serve`: takes the data folder and becomes its gate.

use std::{fs::File, io::Write as _, time::Duration};

use anyhow::Context as _;

use super::{Place, check};
use crate::{
    args::Serve,
    folder::ENDING_GATE,
    gate::{self, Life, Start},
    socket::{Client, Status},
    telemetry,
    ui::{self, Ending, Output},
};

pub(super) fn serve(place: &Place, order: &Serve) -> anyhow::Result<Ending> {
    if order.check {
        return check::check(place);
    }
    if order.background {
        // The terminal and its signals belong to the command that is run, not to the gate.
        rustix::process::setsid().context("cannot leave the terminal")?;
    }
    telemetry::start_logging(order.log)?;
    let settings = place.settings()?;
    let folder = place.folder(Some(&settings))?;
    // Commands that work without a gate finish first, and none begins before this one answers. A parent that starts a
    // gate in the background does this for it.
    let starting = if order.background {
        None
    } else {
        Some(folder.lock_for_starting()?)
    };
    let running = Client::connect(&folder)?.is_some();
    let lock = folder.lock(if running { Duration::ZERO } else { ENDING_GATE })?;
    let (background, output) = (order.background, place.output);
    let life = if background {
        Life::WhileUsed
    } else {
        Life::UntilStopped
    };
    let ready = Box::new(move |status: &Status| {
        drop(starting);
        if background {
            ready_in_background()
        } else {
            ready_in_foreground(output, status)
        }
    });
    gate::serve(Start {
        settings,
        folder,
        lock,
        life,
        ready,
    })?;
    Ok(Ending::Done)
}

/// Tells the waiting parent, then lets go of the pipe that it listens on.
fn ready_in_background() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")
        .and_then(|()| out.flush())
        .context("cannot say that the gate is ready")?;
    let nowhere = File::options()
        .write(true)
        .open("/dev/null")
        .context("cannot open `/dev/null`")?;
    rustix::stdio::dup2_stdout(&nowhere).context("cannot close the pipe")
}

fn ready_in_foreground(output: Output, status: &Status) -> anyhow::Result<()> {
    if output == Output::Json {
        ui::json(status)?;
        return Ok(());
    }
    for listener in &status.listeners {
        ui::say(format_args!("listening on {listener}"));
    }
    if let Some(metrics) = &status.metrics {
        ui::say(format_args!("metrics on http://{metrics}/metrics"));
    }
    ui::say(format_args!("policy {}; stop with Ctrl-C", status.policy));
    Ok(())
}
