//! `exeat upgrade`: has the gate that runs hand everything to another program.

use anyhow::Context as _;

use super::Place;
use crate::{
    args::Upgrade,
    socket::{Request, Upgraded},
    ui::Ending,
};

pub(super) fn upgrade(place: &Place, order: Upgrade) -> anyhow::Result<Ending> {
    let program = match order.binary {
        Some(binary) => std::path::absolute(binary),
        None => std::env::current_exe(),
    };
    let program = program.context("cannot find the program")?;
    let request = Request::Upgrade { program };
    let upgraded: Upgraded = place.running_gate()?.one(&request, &[])?;
    place.print(&upgraded, || {
        format!(
            "version {} serves (process {}); calls waited {} ms; process {} ends when its open calls have",
            upgraded.now.version, upgraded.now.pid, upgraded.waited_ms, upgraded.before
        )
    })?;
    Ok(Ending::Done)
}
