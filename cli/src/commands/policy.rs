//! `exeat policy`: the rules, as written or as Cedar, and cases that say what they should do.

use super::{Place, check};
use crate::{
    args::Policy,
    settings::read_sources,
    socket::{PolicyShown, Request},
    ui::Ending,
};

pub(super) fn policy(place: &Place, order: Policy) -> anyhow::Result<Ending> {
    match order {
        Policy::Show {
            running: true,
            limits,
            ..
        } => {
            let shown: PolicyShown = place.running_gate()?.one(&Request::PolicyShow {}, &[])?;
            place.print(&shown, || match limits {
                true => shown.limits_in_words(),
                false => format!(
                    "// {}, {} tools\n{}",
                    shown.digest,
                    shown.tools,
                    shown.cedar.trim_end()
                ),
            })?;
            Ok(Ending::Done)
        }
        Policy::Show {
            cedar,
            limits,
            running: false,
        } => {
            let (settings, policy) = check::load(place)?;
            let shown = PolicyShown::of(&policy);
            let text = if cedar {
                shown.cedar.clone()
            } else if limits {
                shown.limits_in_words()
            } else {
                let sources = read_sources(&settings.policy)?;
                let files = sources.policy.iter().chain(&sources.cedar);
                files
                    .map(|file| format!("# {}\n{}", file.name, file.text))
                    .collect()
            };
            place.print(&shown, || text.trim_end().to_owned())?;
            Ok(Ending::Done)
        }
        Policy::Diff(order) => super::policy_diff::diff(place, &order),
        Policy::Prove(order) => super::policy_prove::prove(place, &order),
        Policy::Test { files, preset } => super::cases::test(place, &files, &preset),
    }
}
