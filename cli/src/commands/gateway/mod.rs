//! `exeat gateway`: how a network is led to the listeners of the configuration. It prints; it never changes the machine.

mod rules;

use super::Place;
use crate::{
    args::Gateway,
    ui::{self, Ending},
};

pub(super) fn gateway(place: &Place, order: &Gateway) -> anyhow::Result<Ending> {
    let Gateway::Rules { interface, agent } = order;
    let settings = place.settings()?;
    let rules = rules::Rules::of(&settings, agent.as_ref())?;
    ui::data(rules.text(interface)?.trim_end())?;
    Ok(Ending::Done)
}
