//! Keys found in the environment: offered for custody, one question each, and never passed on. What is not taken is
//! withheld and named. No message here holds a value.

use std::{
    ffi::{OsStr, OsString},
    os::{fd::AsFd as _, unix::ffi::OsStringExt as _},
};

use anyhow::Context as _;
use exeat_types::{AgentId, limits::SECRET_BYTES_MIN};

use crate::{
    args::Run,
    commands::Place,
    env,
    presets::{self, Installation, Key, Preset, Unfit},
    settings::Settings,
    socket::{Request, SecretEntry},
    ui,
};

/// What is answered to the question about each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// Yes, said `--yes`.
    Yes,
    /// No, said `--no`.
    No,
    /// Whatever is typed.
    Asked,
    /// Nobody is there, or questions are not wanted.
    Nobody,
}

impl Answers {
    pub(super) fn of(order: &Run) -> Self {
        if order.keys.yes {
            Self::Yes
        } else if order.keys.no {
            Self::No
        } else if ui::can_ask() && !order.hold.strict {
            Self::Asked
        } else {
            Self::Nobody
        }
    }
}

/// A key that lies in the environment.
struct Found {
    preset: &'static Preset,
    key: &'static Key,
    variable: &'static str,
    value: OsString,
}

/// Offers every key that nobody has configured yet, and installs the presets of those that are taken. Gives the settings
/// as they are then.
pub(super) fn offer(
    place: &Place,
    mut settings: Settings,
    agent: &AgentId,
    answers: Answers,
) -> anyhow::Result<Settings> {
    let mut withheld = Vec::new();
    for found in presets::ALL.iter().filter_map(find) {
        let known = is_configured(&settings, found.variable);
        if known && !found.preset.is_installed(&settings) {
            continue;
        }
        let variable = found.variable;
        let plan = match found.preset.plan(&settings, found.key, variable, agent) {
            Ok(plan) if plan.is_empty() => continue,
            Ok(plan) => plan,
            Err(unfit) => {
                tell_unfit(&found, &unfit);
                continue;
            }
        };
        if found.value.len() < SECRET_BYTES_MIN {
            ui::say(format_args!(
                "{variable} is withheld: it is too short to be a key"
            ));
            continue;
        }
        if !agreed(&found, &plan, agent, answers)? {
            withheld.push(variable);
            continue;
        }
        plan.write(&settings)?;
        settings = settings.reload()?;
        if !known {
            seal(place, found)?;
        }
    }
    tell_withheld(&withheld, answers);
    Ok(settings)
}

/// Whether a variable never reaches the command as it is, whatever its name looks like.
pub(super) fn is_key(name: &OsStr) -> bool {
    let brokered = presets::ALL.iter().flat_map(|preset| preset.keys);
    let brokered = brokered.flat_map(|key| key.variables);
    let others = presets::NOT_BROKERED.iter().flat_map(|(_, names)| *names);
    brokered.chain(others).any(|known| name == *known)
}

/// Says which configured variables hold nothing inside, as their secret is not there.
pub(super) fn tell_missing(settings: &Settings, given: &[String]) {
    for (id, credential) in &settings.credentials {
        for variable in &credential.variables {
            if env::variable(variable).is_some() && !given.contains(variable) {
                ui::say(format_args!(
                    "{variable} is withheld: it belongs to `[credentials.{id}]`, whose secret is not there; see `exeat secret`"
                ));
            }
        }
    }
}

fn find(preset: &'static Preset) -> Option<Found> {
    preset.keys.iter().find_map(|key| {
        key.variables.iter().find_map(|variable| {
            let value = env::variable(variable)?;
            Some(Found {
                preset,
                key,
                variable,
                value,
            })
        })
    })
}

fn is_configured(settings: &Settings, variable: &str) -> bool {
    let mut all = settings.credentials.values();
    all.any(|credential| credential.variables.iter().any(|name| name == variable))
}

fn agreed(
    found: &Found,
    plan: &Installation,
    agent: &AgentId,
    answers: Answers,
) -> anyhow::Result<bool> {
    let variable = found.variable;
    let show = || {
        ui::say(format_args!(
            "{variable} was found. Its preset adds:\n{plan}"
        ));
    };
    match answers {
        Answers::No | Answers::Nobody => Ok(false),
        Answers::Yes => {
            show();
            Ok(true)
        }
        Answers::Asked => {
            show();
            let question = format!("keep it in custody, and give `{agent}` a placeholder? [Y/n] ");
            loop {
                let answer = ui::ask(&question).context("nobody answered")?;
                match answer.to_ascii_lowercase().as_str() {
                    "" | "y" | "yes" => return Ok(true),
                    "n" | "no" => return Ok(false),
                    _ => {}
                }
            }
        }
    }
}

fn seal(place: &Place, found: Found) -> anyhow::Result<()> {
    let (variable, name) = (found.variable, found.preset.name);
    let sealed = ui::pipe_of(found.value.into_vec())
        .map_err(anyhow::Error::new)
        .and_then(|pipe| {
            let request = Request::SecretSet {
                name: name.to_owned(),
            };
            place.gate()?.one::<SecretEntry>(&request, &[pipe.as_fd()])
        });
    sealed.with_context(|| {
        format!("the preset is installed, but {variable} could not be sealed; try `exeat secret set {name}`")
    })?;
    ui::say(format_args!("{variable} is sealed as `{name}`"));
    Ok(())
}

fn tell_unfit(found: &Found, unfit: &Unfit) {
    let variable = found.variable;
    ui::say(format_args!(
        "{variable} is withheld: the preset `{}` was not added, as {unfit}",
        found.preset.name
    ));
    if let Unfit::Together(report) = unfit {
        ui::problems(report);
    }
}

fn tell_withheld(withheld: &[&str], answers: Answers) {
    if !withheld.is_empty() {
        let help = match answers {
            Answers::Nobody => {
                "; `exeat run --yes` takes keys into custody and installs their presets"
            }
            Answers::Yes | Answers::No | Answers::Asked => "",
        };
        ui::say(format_args!("withheld: {}{help}", withheld.join(", ")));
    }
    for (kind, variables) in presets::NOT_BROKERED {
        let there: Vec<&str> = variables
            .iter()
            .copied()
            .filter(|name| env::variable(name).is_some())
            .collect();
        if !there.is_empty() {
            ui::say(format_args!(
                "withheld: {}; keys for {kind} are not taken from variables, but configured by hand",
                there.join(", ")
            ));
        }
    }
}
