//! A first configuration for whoever has none: an agent named after the program, no tools, no rules. What exists is
//! never overwritten; an agent that is missing is added at the end of the file.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use exeat_types::{AgentId, Source};

use super::hold::Spoken;
use crate::{
    args::Run,
    commands::agent_of,
    env,
    presets::{Addition, alone},
    settings::Settings,
    ui,
};

const CONFIG: &str = include_str!("../../../templates/first/exeat.toml");
const RULES: &str = include_str!("../../../templates/first/policy.toml");

/// Writes a configuration into the user's configuration folder and loads it.
pub(super) fn write(order: &Run) -> anyhow::Result<Settings> {
    let Some(folder) = env::config_folder() else {
        bail!("there is no home for a configuration; name one with `-c FILE`");
    };
    let file = folder.join("exeat.toml");
    make_folder(&folder)?;
    create(&file, CONFIG)?;
    let settings = Settings::load(&file)?;
    complete(settings, order, Spoken::Nothing)
}

/// Adds what a configuration without rules of its operator's still lacks.
pub(super) fn complete(
    settings: Settings,
    order: &Run,
    spoken: Spoken,
) -> anyhow::Result<Settings> {
    if spoken == Spoken::Rules {
        return Ok(settings);
    }
    make_folder(&settings.policy.tools)?;
    if !settings.policy.file.exists() {
        create(&settings.policy.file, RULES)?;
    }
    let agent = named_after(order).context("name the agent with `--agent`")?;
    if settings.agents.contains_key(&agent) {
        return Ok(settings);
    }
    let shown = settings.file.display();
    let wrong = || format!("cannot add `[agents.{agent}]` to `{shown}`");
    let held = alone(&settings.file).with_context(wrong)?;
    // Another run may have added it meanwhile.
    if Settings::load(&settings.file)?.agents.contains_key(&agent) {
        return Ok(Settings::load(&settings.file)?);
    }
    let text = format!("\n[agents.{agent}]\n");
    let so_far = fs::read_to_string(&settings.file).with_context(wrong)?;
    let whole = Source::new(&shown.to_string(), &format!("{so_far}{text}"));
    let fresh = Settings::parse(&settings.file, &whole).with_context(wrong)?;
    let added = Addition::append(settings.file.clone(), text).write();
    added.with_context(wrong)?;
    drop(held);
    ui::say(format_args!("added [agents.{agent}] to {shown}"));
    Ok(fresh)
}

/// Who the command is: the agent that was named, one with the name of the program, or the only one there is.
pub(super) fn agent(settings: &Settings, order: &Run) -> anyhow::Result<AgentId> {
    if order.agent.is_none()
        && let Some(program) = named_after(order)
        && settings.agents.contains_key(&program)
    {
        return Ok(program);
    }
    agent_of(settings, order.agent.as_ref())
}

/// The agent that was named, or one with the name of the program, if that can be a name.
fn named_after(order: &Run) -> Option<AgentId> {
    let program = || {
        let program = Path::new(order.command.first()?);
        name_of(&program.file_name()?.to_string_lossy())
    };
    order.agent.clone().or_else(program)
}

/// The name of a program as the name of an agent.
fn name_of(program: &str) -> Option<AgentId> {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_' => c,
        _ => '-',
    };
    let name: String = program.chars().map(plain).take(64).collect();
    AgentId::new(name.trim_matches('-')).ok()
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.with_context(|| format!("cannot make the folder `{}`", folder.display()))
}

/// Writes a new file, and says so. One that is there stays as it is.
fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => ui::say(format_args!("wrote {}", path.display())),
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {}
        Err(problem) => {
            return Err(problem).with_context(|| format!("cannot write `{}`", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: &str, expect: Option<&str>) {
        let name = name_of(program);
        assert_eq!(name.as_ref().map(AgentId::as_str), expect, "{program}");
    }

    #[test]
    fn an_agent_is_named_after_its_program() {
        check("claude", Some("claude"));
        check("python3.11", Some("python3-11"));
        check("My Agent.AppImage", Some("my-agent-appimage"));
        check("[", None);
        check("", None);
    }
}
