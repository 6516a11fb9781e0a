//! What each command does with its arguments: read files or ask the gate, and print. Nothing here decides about a call.

mod approval;
mod bridge;
mod budget;
mod ca;
mod cases;
mod check;
mod connect;
mod console;
mod doctor;
mod gateway;
mod init;
mod learn;
mod master;
mod policy;
mod policy_diff;
mod policy_prove;
mod preset;
mod receipt;
mod request;
mod run;
mod secret;
mod serve;
mod sides;
mod signer;
mod token;
mod tool;
mod upgrade;
mod verify;
mod why;

pub(crate) use doctor::inside as doctor_inside;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use exeat_types::{AgentId, Report};

use crate::{
    args::{Cli, Command},
    demo, env,
    folder::{DataFolder, ENDING_GATE},
    gate,
    settings::Settings,
    socket::Client,
    ui::{self, Ending, Output},
};

/// Runs one command to its end.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Ending> {
    let place = Place {
        config: cli.config,
        data: cli.data,
        output: if cli.json { Output::Json } else { Output::Text },
    };
    match cli.command {
        Command::Demo => Ok(if demo::run(place.output)? {
            Ending::Done
        } else {
            Ending::Refused
        }),
        Command::Run(order) => run::run(&place, order),
        Command::Serve(order) => serve::serve(&place, &order),
        Command::Upgrade(order) => upgrade::upgrade(&place, order),
        Command::Init { dir } => init::init(&place, dir),
        Command::Doctor(order) => doctor::doctor(&place, &order),
        Command::Check => check::check(&place),
        Command::Why(order) => why::why(&place, &order),
        Command::Tool(order) => tool::tool(&place, order),
        Command::Policy(order) => policy::policy(&place, order),
        Command::Learn(order) => learn::learn(&place, &order),
        Command::Request(order) => request::ask(&place, &order),
        Command::Grant(order) => request::grant(&place, order),
        Command::Preset(order) => preset::preset(&place, order),
        Command::Secret(order) => secret::secret(&place, order),
        Command::Approval(order) => approval::approval(&place, order),
        Command::Agent(order) => approval::agent(&place, order),
        Command::Console(order) => console::console(&place, order),
        Command::Budget(order) => budget::budget(&place, order),
        Command::Signer(order) => signer::signer(&place, order),
        Command::Master(order) => master::master(&place, &order),
        Command::Connect(order) => connect::connect(&place, &order),
        Command::Disconnect(order) => connect::disconnect(&place, &order),
        Command::Connection(order) => connect::connection(&place, &order),
        Command::Ca(order) => ca::ca(&place, &order),
        Command::Gateway(order) => gateway::gateway(&place, &order),
        Command::Receipt(order) => receipt::receipt(&place, order),
        Command::Tail { agent } => receipt::tail(&place, agent),
        Command::Token(order) => token::token(&place, order),
        Command::Bridge(order) => bridge::bridge(order),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "exeat", &mut script);
            ui::data(String::from_utf8_lossy(&script).trim_end())?;
            Ok(Ending::Done)
        }
    }
}

/// Where the operator's things are, and how to print.
struct Place {
    config: Option<PathBuf>,
    data: Option<PathBuf>,
    output: Output,
}

impl Place {
    /// The configuration file: the one named, else the one in the configuration folder, if it exists.
    ///
    /// SECURITY: never one that just lies in the working folder. Who worked there before may have been an agent, which
    /// would have written the rules of the next run.
    fn config_file(&self) -> anyhow::Result<Option<PathBuf>> {
        if let Some(named) = &self.config {
            return Ok(Some(named.clone()));
        }
        let usual = env::config_folder().map(|folder| folder.join("exeat.toml"));
        let usual = usual.filter(|file| file.exists());
        let here = Path::new("exeat.toml");
        if usual.is_none() && here.exists() {
            let mut report = Report::new();
            report
                .general("`exeat.toml` in the working folder is not used unless it is named")
                .help("if you wrote it, and no agent did: `-c exeat.toml`");
            return Err(report.into());
        }
        Ok(usual)
    }

    /// The checked configuration.
    fn settings(&self) -> anyhow::Result<Settings> {
        match self.settings_if_any()? {
            Some(settings) => Ok(settings),
            None => {
                let mut report = Report::new();
                report
                    .general("there is no `exeat.toml` in the configuration folder")
                    .help("`exeat init` writes a first one; `-c FILE` names another");
                Err(report.into())
            }
        }
    }

    /// The checked configuration, if there is one.
    fn settings_if_any(&self) -> anyhow::Result<Option<Settings>> {
        let file = self.config_file()?;
        Ok(file.map(|file| Settings::load(&file)).transpose()?)
    }

    /// The data folder: the flag, else what the configuration says, else the usual place.
    fn folder(&self, settings: Option<&Settings>) -> anyhow::Result<DataFolder> {
        let configured = settings.and_then(|settings| settings.data.clone());
        let chosen = self.data.clone().or(configured).or_else(env::state_folder);
        DataFolder::open(
            &chosen.context("there is no home for the data folder; name one with `--data`")?,
        )
    }

    /// The gate of the data folder; when none runs, one inside this process that holds the folder's lock.
    fn gate(&self) -> anyhow::Result<Client> {
        let settings = self.settings_if_any()?;
        let folder = self.folder(settings.as_ref())?;
        if let Some(client) = Client::connect(&folder)? {
            return Ok(client);
        }
        let starting = folder.lock_for_starting()?;
        if let Some(client) = Client::connect(&folder)? {
            return Ok(client);
        }
        let lock = folder.lock(ENDING_GATE)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(gate::open(&folder, settings.as_ref()))?;
        Client::within(runtime, answer, [lock, starting])
    }

    /// The gate that runs, for what only a running gate can answer.
    fn running_gate(&self) -> anyhow::Result<Client> {
        let settings = self.settings_if_any()?;
        let folder = self.folder(settings.as_ref())?;
        let shown = folder.path().display();
        Client::connect(&folder)?
            .with_context(|| format!("no gate runs on `{shown}`; start it with `exeat serve`"))
    }

    /// Prints a value: as JSON when asked for, else as the text.
    fn print(
        &self,
        value: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        match self.output {
            Output::Json => ui::json(value)?,
            Output::Text => ui::data(text())?,
        }
        Ok(())
    }

    /// Prints values: one line of JSON each when asked for, else as the text.
    fn print_all(
        &self,
        values: &[impl serde::Serialize],
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.output == Output::Text {
            ui::data(text())?;
            return Ok(());
        }
        for value in values {
            ui::json(value)?;
        }
        Ok(())
    }
}

/// The agent named, else the only one there is.
fn agent_of(settings: &Settings, named: Option<&AgentId>) -> anyhow::Result<AgentId> {
    let known: Vec<&AgentId> = settings.agents.keys().collect();
    let listed = || {
        known
            .iter()
            .map(|agent| format!("`{agent}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (named, known.as_slice()) {
        (Some(named), known) if known.contains(&named) => Ok(named.clone()),
        (Some(named), _) => bail!(
            "unknown agent `{named}`; `{}` has {}",
            settings.file.display(),
            listed()
        ),
        (None, [only]) => Ok((*only).clone()),
        (None, []) => bail!(
            "`{}` has no agent; add `[agents.NAME]`",
            settings.file.display()
        ),
        (None, _) => bail!("name the agent with `--agent`: one of {}", listed()),
    }
}

/// Reads a file a user named; `-` is standard input.
fn read_named(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}
