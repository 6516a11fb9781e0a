//! What can be asked of the program. The help texts teach: each command says what it is for and shows one use.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use exeat_types::{AgentId, CallId, Timestamp, ToolName};

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

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 receipts right but their end unproven."
)]
pub(crate) struct Cli {
    /// The configuration; `exeat.toml` here, then in ~/.config/exeat, when absent
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

  exeat run -- claude
  exeat run --agent ci -- npm test")]
    Run(Run),
    /// The gate: proxy listeners, metrics and the admin socket
    #[command(after_help = "\
Example:
  exeat serve -c exeat.toml
  export HTTPS_PROXY=http://agent:$(exeat token create --agent claude)@127.0.0.1:8080

SIGHUP, or a changed file, reloads configuration and policy: all of it, or nothing when a check fails.")]
    Serve(Serve),
    /// Write a first configuration with comments
    #[command(
        after_help = "Example:\n  exeat init --dir ~/.config/exeat\n\nNothing that exists is overwritten."
    )]
    Init {
        /// Where to
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Check configuration, tools and rules; every problem at once, with its place
    Check,
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
    /// Secrets sealed in custody; their values never come out again
    #[command(subcommand)]
    Secret(Secret),
    /// The local certificate authority of `exeat serve`
    #[command(subcommand)]
    Ca(Ca),
    /// Receipts: one for every call
    #[command(subcommand)]
    Receipt(Receipt),
    /// Receipts as calls end
    Tail {
        /// Only of this agent
        #[arg(long)]
        agent: Option<AgentId>,
    },
    /// Tokens by which agents outside a sandbox say who they are
    #[command(subcommand)]
    Token(Token),
    /// Completions for a shell
    #[command(
        after_help = "Example:\n  exeat completions bash > ~/.local/share/bash-completion/completions/exeat"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Who the command is; may be left out when the configuration has one agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Check and stop: the same report as `exeat check`
    #[arg(long)]
    pub(crate) check: bool,
    /// How log lines look; the variable `EXEAT_LOG` filters them, such as `EXEAT_LOG=debug`
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// Started by `exeat run`: say `ready` on standard output, end when unused
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For reading
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The HTTP method
    pub(crate) method: http::Method,
    /// The whole URL
    pub(crate) url: String,
    /// Who asks; may be left out when the configuration has one agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// A file with the body; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
    /// A header, `Name: value`; JSON is assumed for a body without Content-Type
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Every tool: name, category, request
    List,
    /// One tool in full: arguments, credential, what is removed from its responses
    Show {
        /// Its full name
        name: ToolName,
    },
    /// Make tool files from an OpenAPI 3.0 or 3.1 description in JSON
    #[command(
        after_help = "Example:\n  exeat tool import api.github.com.json --api-name github --credential github --out tools"
    )]
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The description
    pub(crate) file: PathBuf,
    /// The folder to write to; nothing that exists is overwritten
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// What tool names begin with; made from its host when absent
    #[arg(long, value_name = "NAME")]
    pub(crate) api_name: Option<String>,
    /// Where the API is; the first server of the description when absent
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
    /// The credential that its tools use
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,
    /// Refuse arguments that the description does not name, even where it leaves objects open
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// The rules: those in the files, or those the running gate has in force
    Show {
        /// As the Cedar policies they compile to
        #[arg(long)]
        cedar: bool,
        /// Ask the running gate
        #[arg(long)]
        running: bool,
    },
    /// Run test cases against the rules
    #[command(after_help = "\
Example:
  exeat policy test cases.toml

A case:
  [[case]]
  name = \"claude reads\"
  agent = \"claude\"
  request = \"GET https://api.github.com/repos/acme/site\"
  expect = \"allow\"     # allow, deny, prompt, tool-unknown or arguments-invalid")]
    Test {
        /// Files of cases
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Seal a secret, typed without echo or read from standard input
    #[command(
        after_help = "Example:\n  exeat secret set github < token.txt\n\nIn exeat.toml it is then `secret = \"sealed:github\"`."
    )]
    Set {
        /// Its name
        name: String,
    },
    /// Names, versions and dates
    List,
    /// Forget a secret
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make the root, sealed at rest
    Init,
    /// The root as PEM, for clients that add a root
    Export,
    /// The system's roots and ours as PEM, for clients that replace their roots
    Bundle,
    /// Make a new root; the old one stays trusted for an overlap
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// The newest receipts
    List(Filter),
    /// One receipt in full
    Show {
        /// Its id
        id: CallId,
    },
    /// The public key that verifies receipts; keep it somewhere else than the export
    Key,
    /// Check an export offline: every record, every signature, exactly one outcome for each call
    #[command(after_help = "\
Example:
  exeat receipt key > receipts.key
  exeat receipt export --out receipts.jsonl
  exeat receipt verify receipts.jsonl --key receipts.key --anchor checkpoint.txt

Exit status 0 proven, 1 broken, 3 right as far as it goes, but without an anchor nothing proves that it ends there.")]
    Verify(Verify),
    /// Write receipts and checkpoints for offline verification
    Export {
        /// The file; standard output when absent
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Of this agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// Of this tool; `github.*` means every tool below `github`
    #[arg(long)]
    pub(crate) tool: Option<String>,
    /// From this moment, such as 2026-01-31T12:00:00Z
    #[arg(long)]
    pub(crate) since: Option<Timestamp>,
    /// Before this moment
    #[arg(long)]
    pub(crate) until: Option<Timestamp>,
    /// Only refused calls
    #[arg(long)]
    pub(crate) refused: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The export
    pub(crate) file: PathBuf,
    /// The gate's public key, from somewhere the export did not come from
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A checkpoint that was anchored elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it once
    #[command(after_help = "\
Example:
  exeat token create --agent claude --life 8h

It goes into the proxy's URL as the password: http://agent:TOKEN@127.0.0.1:8080")]
    Create {
        /// For whom
        #[arg(long)]
        agent: AgentId,
        /// How long it lives: 30m, 8h, 7d
        #[arg(long, default_value = "24h", value_parser = life)]
        life: std::time::Duration,
        /// Good only on the listener at this address
        #[arg(long)]
        listener: Option<SocketAddr>,
    },
}

/// A whole number and a unit.
fn life(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "expected a number and s, m, h or d, such as `8h`".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let secs: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(wrong)?;
    let total = number
        .checked_mul(secs)
        .filter(|&total| total > 0)
        .ok_or_else(wrong)?;
    Ok(std::time::Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lives_are_numbers_with_a_unit() {
        assert_eq!(life("8h").unwrap().as_secs(), 28_800);
        for wrong in ["", "h", "8", "0d", "-1h", "1w", "99999999999999999999d"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }
}
