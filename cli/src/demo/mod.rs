//! The one-minute tour: this very program as gate and as `exeat run`, a real TLS server, and curl as the agent.
//!
//! Nothing is simulated but the API, which is ours and says so, and the passkey, which is software and says so. Each step states what it expected and what happened; the
//! tour ends well only if all of them did. Everything lives in a passing folder and on loopback.

mod authenticator;
mod person;
mod site;
mod steps;
pub(crate) mod upstream;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::{
    folder,
    ui::{self, Output, Paint},
};
use site::Site;
use upstream::Upstream;

/// What one step showed.
#[derive(Debug, Serialize)]
struct Step {
    /// A short name for programs.
    id: &'static str,
    /// What it is about.
    title: &'static str,
    /// Whether it showed what it should.
    ok: bool,
    /// What it should show.
    expected: &'static str,
    /// What the agent got.
    agent_saw: String,
    /// What arrived at the API, if anything did.
    upstream_saw: Option<String>,
}

/// What the receipt log says in the end.
#[derive(Debug, Serialize)]
struct Receipts {
    /// How many calls it tells of.
    count: usize,
    /// Whether an offline check of all of it succeeded.
    verified: bool,
}

#[derive(Debug, Serialize)]
struct Tour {
    steps: Vec<Step>,
    receipts: Receipts,
}

/// Runs the tour; true when every step showed what it should.
///
/// # Errors
/// When the tour itself cannot be set up: no curl, no namespaces, no loopback.
pub(crate) fn run(output: Output) -> anyhow::Result<bool> {
    let json = output == Output::Json;
    if Command::new("curl").arg("--version").output().is_err() {
        bail!("the tour's agent is curl, and there is none here; `make setup` installs it");
    }
    let folder = folder::passing("exeat-demo-")?;
    let upstream = Upstream::start()?;
    let exe = std::env::current_exe().context("finding this program")?;
    let site = Site::make(folder.path(), exe, &upstream)?;
    if !json {
        introduction();
    }
    let mut steps = Vec::new();
    for act in steps::ALL {
        let step = act(&site, &upstream)?;
        if !json {
            tell(&step)?;
        }
        steps.push(step);
    }
    let receipts = steps::receipts(&site)?;
    let good = steps.iter().all(|step| step.ok) && receipts.verified && receipts.count > 0;
    if json {
        ui::json(&Tour { steps, receipts })?;
    } else {
        conclusion(&receipts)?;
        if good {
            ui::say(
                "next: `exeat init` writes a first configuration, `exeat run -- COMMAND` uses it",
            );
        }
    }
    Ok(good)
}

fn introduction() {
    ui::say(
        "An agent (curl) runs in a sandbox whose only way out is the gate. It holds a placeholder; the gate holds the\n\
         token. Behind the gate stands an API (ours, on loopback, TLS) that shows what it was sent.\n\
         Sealed here: network, names, processes, capabilities. Not yet: the rest of the filesystem (Landlock) and system\n\
         calls (seccomp); a command that runs as root can still write root's files.\n",
    );
}

fn tell(step: &Step) -> anyhow::Result<()> {
    let paint = Paint::on_stdout();
    let mark = if step.ok {
        paint.green("ok")
    } else {
        paint.red("NOT OK")
    };
    let mut text = format!(
        "{mark}  {}\n    expected      {}\n",
        paint.bold(step.title),
        step.expected
    );
    text.push_str(&format!(
        "    agent saw     {}\n",
        indented(&step.agent_saw)
    ));
    if let Some(seen) = &step.upstream_saw {
        text.push_str(&format!("    upstream saw  {}\n", indented(seen)));
    }
    ui::data(text)?;
    Ok(())
}

fn indented(text: &str) -> String {
    text.trim()
        .lines()
        .collect::<Vec<_>>()
        .join("\n                  ")
}

fn conclusion(receipts: &Receipts) -> anyhow::Result<()> {
    let paint = Paint::on_stdout();
    let verified = if receipts.verified {
        paint.green("verified offline")
    } else {
        paint.red("NOT verified")
    };
    ui::data(format_args!("{} receipts, {verified}", receipts.count))?;
    Ok(())
}

/// The output of a command that was run sealed.
struct Ran {
    stdout: String,
    stderr: String,
    success: bool,
}

impl Ran {
    /// Both outputs, for showing.
    fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A path of the tour's folder.
type Place = PathBuf;
