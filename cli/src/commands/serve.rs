//! `exeat serve`: takes the data folder and becomes its gate.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{Place, check};
use crate::{
    args::Serve,
    folder::ENDING_GATE,
    gate::{self, Begin, Life, Start},
    notify,
    socket::{Client, Status},
    telemetry,
    ui::{self, Ending, Output},
    upgrade::{HAND_OVER, Predecessor},
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
    if let Some(version) = order.upgrade {
        return succeed(place, order, version);
    }
    let settings = place.settings()?.with_rules(order.policy.clone());
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
        begin: Begin::Alone(lock, life),
        log: order.log,
        ready,
    })?;
    Ok(Ending::Done)
}

/// Takes the place of the gate that started this process, and tells it why if that fails.
fn succeed(place: &Place, order: &Serve, version: u32) -> anyhow::Result<Ending> {
    let predecessor = Predecessor::from_stdin()?;
    let teller = predecessor.again()?;
    let serves = Arc::new(AtomicBool::new(false));
    let serving = Arc::clone(&serves);
    let take = || {
        if version != HAND_OVER {
            bail!(
                "this program hands over as version {HAND_OVER}, the gate that runs as {version}"
            );
        }
        let settings = place.settings()?.with_rules(order.policy.clone());
        let folder = place.folder(Some(&settings))?;
        gate::serve(Start {
            settings,
            folder,
            begin: Begin::After(predecessor),
            log: order.log,
            ready: Box::new(move |_status: &Status| {
                serving.store(true, Ordering::Release);
                notify::serves();
                Ok(())
            }),
        })
    };
    let ended = take();
    if let Err(problem) = &ended
        && !serves.load(Ordering::Acquire)
    {
        teller.fails(problem);
    }
    ended.map(|()| Ending::Done)
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
    notify::serves();
    if output == Output::Json {
        ui::json(status)?;
        return Ok(());
    }
    for listener in &status.listeners {
        ui::say(format_args!("listening on {listener}"));
    }
    if let Some(console) = &status.console {
        ui::say(format_args!("console on {console}"));
    }
    if let Some(metrics) = &status.metrics {
        ui::say(format_args!("metrics on http://{metrics}/metrics"));
    }
    ui::say(format_args!("policy {}; stop with Ctrl-C", status.policy));
    Ok(())
}
