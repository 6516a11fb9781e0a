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
        /// Ask the running gate
        #[arg(long)]
        running: bool,
    },
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
