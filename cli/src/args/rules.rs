//! The arguments of commands about tools and rules.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use exeat_types::{AgentId, ToolName};

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
    /// A path parameter whose value may hold slashes, written as `%2F`; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) encoded_slash: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// The rules: those in the files, or those the running gate has in force
    Show {
        /// As the Cedar policies they compile to
        #[arg(long)]
        cedar: bool,
        /// Only the limits, in plain English
        #[arg(long, conflicts_with = "cedar")]
        limits: bool,
        /// Ask the running gate
        #[arg(long)]
        running: bool,
    },
    /// Decide the calls of the past under two policies, and list every decision that changes
    #[command(after_help = "\
Example:
  exeat policy diff in-force ./proposal --since 7d
  exeat policy diff old/policy.toml new/policy.toml --agent claude

Each side is a folder with an exeat.toml, such a file, a file of rules, or `in-force`. Receipts
come from the gate of the data folder, with the arguments that were kept beside them. Limits, risk
and approvals are not replayed.

Exit status 0 when nothing gets wider, 1 when something does or could not be decided.")]
    Diff(PolicyDiff),
    /// Ask a solver about every request there could be
    #[command(after_help = "\
Example:
  exeat policy prove --agent claude --tool github.repos.delete
  exeat policy prove --category write
  exeat policy prove in-force ./proposal

The first two ask whether agents reach tools without an approval, the last whether a change lets
anybody do more. Needs the program `exeat-prove` and the solver cvc5: docs/POLICY_TOOLS.md says how
to get them, and what no proof covers.

Exit status 0 proven, 1 refuted by a request that is shown, 2 wrong usage, 3 the solver could not
tell.")]
    Prove(PolicyProve),
    /// Run test cases against the rules
    #[command(after_help = "\
Example:
  exeat policy test cases.toml
  exeat policy test --preset github

A case:
  [[case]]
  name = \"claude reads\"
  agent = \"claude\"
  request = \"GET https://api.github.com/repos/acme/site\"
  expect = \"allow\"     # allow, deny, prompt, tool-unknown or arguments-invalid")]
    Test {
        /// Files of cases
        #[arg(required_unless_present = "preset")]
        files: Vec<PathBuf>,
        /// The cases of a preset, tried without your configuration; repeatable, `all` is every one
        #[arg(long, value_name = "NAME", conflicts_with = "files")]
        preset: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PolicyDiff {
    /// What to compare with: a folder, a configuration, a file of rules, or `in-force`
    pub(crate) old: String,
    /// What is new, named alike
    pub(crate) new: String,
    /// Calls of this time: a number and s, m, h or d
    #[arg(long, default_value = "7d", value_parser = super::secrets::life)]
    pub(crate) since: std::time::Duration,
    /// Only of this agent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyProve {
    /// The older policy, to prove that the newer one widens nothing
    #[arg(requires = "new", conflicts_with_all = ["agent", "tool", "category", "rules"])]
    pub(crate) old: Option<String>,
    /// The newer policy
    pub(crate) new: Option<String>,
    /// Whether this agent reaches a tool; every agent when absent
    #[arg(long)]
    pub(crate) agent: Option<AgentId>,
    /// Which tool
    #[arg(long, required_unless_present_any = ["old", "category"])]
    pub(crate) tool: Option<ToolName>,
    /// Every tool of this category
    #[arg(long)]
    pub(crate) category: Option<String>,
    /// The policy that is asked about: a folder, a configuration, a file of rules, or `in-force`
    #[arg(long, value_name = "POLICY")]
    pub(crate) rules: Option<String>,
    /// How long the solver may think about each question
    #[arg(long, default_value = "60s", value_parser = super::secrets::life, value_name = "TIME")]
    pub(crate) patience: std::time::Duration,
}
