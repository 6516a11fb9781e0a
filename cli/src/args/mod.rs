//! What can be asked of the program. The help texts teach: each command says what it is for and shows one use.

mod approval;
mod bridge;
mod budget;
mod connect;
mod console;
mod doctor;
mod gateway;
mod keys;
mod learn;
mod preset;
mod receipts;
mod requests;
mod rules;
mod run;
mod secrets;
mod serve;
mod upgrade;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use exeat_types::AgentId;

pub(crate) use approval::{Agent, Approval, Approving};
pub(crate) use bridge::{Bridge, Bridged};
pub(crate) use budget::Budget;
pub(crate) use connect::{Connect, Connection, Disconnect};
pub(crate) use console::Console;
pub(crate) use doctor::Doctor;
pub(crate) use gateway::Gateway;
pub(crate) use keys::{Form, Master, Signer};
pub(crate) use learn::Learn;
pub(crate) use preset::Preset;
pub(crate) use receipts::{Filter, Receipt, Verify};
pub(crate) use requests::{Ask, AskKind, Grant};
pub(crate) use rules::{Import, Policy, PolicyDiff, PolicyProve, Tool, Why};
pub(crate) use run::Run;
pub(crate) use secrets::{Ca, Secret, Token};
pub(crate) use serve::{LogFormat, Serve};
pub(crate) use upgrade::Upgrade;

/// The gate your agents' traffic must pass: declared tools, your rules, credentials they never hold, and a receipt for
/// every call.
#[derive(Debug, Parser)]
#[command(
    name = "exeat",
    version,
    max_term_width = 100,
    after_help = "\
Start here:
  exeat demo                    see it work, offline, in under a minute
  exeat init                    write a first configuration
  exeat run -- claude           run an agent behind the gate

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 unproven: where receipts end, or what a solver could not tell."
)]
pub(crate) struct Cli {
    /// The configuration; ~/.config/exeat/exeat.toml when absent
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "FILE",
        env = "EXEAT_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// The data folder; what the configuration says, else ~/.local/state/exeat
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_name = "DIR",
        env = "EXEAT_DATA",
        hide_env_values = true
    )]
    pub(crate) data: Option<PathBuf>,
    /// Print data as JSON, one value a line
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A one-minute tour, offline: a sandboxed agent, an allowed call, a denied one, and the proof
    Demo,
    /// Run a command sealed behind the gate
    #[command(after_help = "\
The command gets its own network, where the gate is the only way out; the gate is started if none runs.

  exeat run -- claude                      the first time, it asks what it has to know
  exeat run --yes -- python agent.py       takes keys of the environment into custody
  exeat run --strict --agent ci -- npm test

At the end it says which hosts were asked, what was refused, and whether every receipt is closed.")]
    Run(Run),
    /// The gate: proxy listeners, metrics and the admin socket
    #[command(after_help = "\
Example:
  exeat serve -c exeat.toml
  export HTTPS_PROXY=http://agent:$(exeat token create --agent claude)@127.0.0.1:8080

SIGHUP, or a changed file, reloads configuration and policy: all of it, or nothing when a check fails.")]
    Serve(Serve),
    /// Put this program, or another, in the place of the gate that runs
    #[command(after_help = "\
Install the new program where the old one was, then:
  exeat upgrade

The gate starts it and hands everything over: listeners, sandboxes, the ledger. No connection is refused and no call is
cut; the old process ends when its open calls have. If the new program cannot take over, the old one goes on.

Under systemd use Type=notify and NotifyAccess=all, so that it follows the gate to its new process.")]
    Upgrade(Upgrade),
    /// Write a first configuration with comments
    #[command(
        after_help = "Example:\n  exeat init\n  exeat init --dir gate\n\nNothing that exists is overwritten."
    )]
    Init {
        /// Where to; ~/.config/exeat when absent
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Check configuration, tools and rules; every problem at once, with its place
    Check,
    /// Test this machine and, from inside a sandbox, every other way out; the result is signed into the ledger
    #[command(after_help = "\
Example:
  exeat doctor
  exeat --json doctor --agent claude

Nothing is sent off this machine, even where something is open. Exit status 0 when all is closed, 1 when not.")]
    Doctor(Doctor),
    /// What would happen to a request: which tool, which rule, which argument
    #[command(after_help = "\
Example:
  exeat why POST https://api.github.com/repos/acme/site/issues --agent claude --body issue.json

Exit status 0 when the request would be let through, 1 when not.")]
    Why(Why),
    /// The tools that are declared
    #[command(subcommand)]
    Tool(Tool),
    /// The rules in force, and tests of them
    #[command(subcommand)]
    Policy(Policy),
    /// Propose tools and rules of what agents were seen to do; nothing is put in force
    #[command(after_help = "\
Example:
  exeat learn
  exeat learn --agent claude --since 3d -o learned.patch

The proposal is a patch with the evidence beside each line: calls, runs, days, receipts. Read it,
then apply it with `git apply` or `patch -p1` in the folder of the configuration. What was first
seen in doubt stands in it as a comment, with the reason: docs/LEARN.md says what is doubted.")]
    Learn(Learn),
    /// Ask that an agent may do more for a time; a person answers
    #[command(after_help = "\
Example:
  exeat request --agent claude write github.issues.create --where owner=acme --for 2h
  exeat request --agent claude transact shop.orders.create --max-value 50 --currency EUR
  exeat grant list

Nothing is granted by asking: a person answers in the console, or with `exeat grant` where the
configuration says so. An agent asks by itself with POST http://exeat.internal/requests;
docs/REQUESTS.md has the forms.")]
    Request(Ask),
    /// What was asked for and granted
    #[command(subcommand)]
    Grant(Grant),
    /// What is known of providers: credential, tools and rules, ready to use
    #[command(subcommand)]
    Preset(Preset),
    /// Secrets sealed in custody; their values never come out again
    #[command(subcommand)]
    Secret(Secret),
    /// Keys that sign, and never leave their place
    #[command(subcommand)]
    Signer(Signer),
    /// What agents have used of their budgets, and lower limits while the gate runs
    #[command(subcommand)]
    Budget(Budget),
    /// The key over all sealed secrets: where it is kept, and moving it
    #[command(subcommand)]
    Master(Master),
    /// Have a person grant a credential, in a browser or by a code typed on any device
    #[command(after_help = "\
Example:
  exeat connect linear
  exeat connect linear --scope issues:write --no-browser

The browser comes back to this machine; from another one, forward the port first, or use
`grant = \"device\"`.")]
    Connect(Connect),
    /// Give back what was granted: its issuer is told, and it is forgotten here
    #[command(after_help = "Example:\n  exeat disconnect linear")]
    Disconnect(Disconnect),
    /// What persons have granted; never a token
    #[command(subcommand)]
    Connection(Connection),
    /// What agents wait for a human to approve
    #[command(subcommand)]
    Approval(Approval),
    /// Agents as a whole: pause one, let it go on
    #[command(subcommand)]
    Agent(Agent),
    /// The passkeys that sign in to the console and approve
    #[command(subcommand)]
    Console(Console),
    /// The local certificate authority of `exeat serve`
    #[command(subcommand)]
    Ca(Ca),
    /// Lead the traffic of containers and other machines here
    #[command(subcommand)]
    Gateway(Gateway),
    /// Receipts: one for every call
    #[command(subcommand)]
    Receipt(Receipt),
    /// Receipts as calls end, and approvals as they are asked for and answered
    Tail {
        /// Only of this agent
        #[arg(long)]
        agent: Option<AgentId>,
    },
    /// Tokens by which agents outside a sandbox say who they are
    #[command(subcommand)]
    Token(Token),
    /// What git calls inside a sandbox to have commits signed
    #[command(subcommand, hide = true)]
    Bridge(Bridge),
    /// Completions for a shell
    #[command(
        after_help = "Example:\n  exeat completions bash > ~/.local/share/bash-completion/completions/exeat"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
