//! Measures what the road costs: ratios against a plain Pingora TLS reverse proxy in one run.
//!
//! One command starts nginx as upstream, then each system as a process of its own, and drives them in interleaved
//! rounds. The sound figure is CPU time per request of the proxy process; the rest depends on who shares the machine.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and waits for programs to start"
)]

mod load;
mod plain;
mod road;
mod site;
mod stat;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use crate::{
    load::{Plan, Way},
    site::Site,
    stat::Sample,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures the whole road beside a plain Pingora reverse proxy")]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds per round and system.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Rules and tools beside the one that is called.
    #[arg(long, default_value_t = 1000)]
    rules: usize,
    /// Write the figures here as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// The plain Pingora reverse proxy, as a child process.
    #[command(hide = true)]
    Plain { folder: std::path::PathBuf },
    /// The whole road, as a child process.
    #[command(hide = true)]
    Road {
        folder: std::path::PathBuf,
        rules: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.what {
        Some(What::Plain { folder }) => plain::run(&Site::open(folder)?),
        Some(What::Road { folder, rules }) => road::run(&Site::open(folder)?, *rules),
        None => measure(&arguments),
    }
}

/// A system under test.
struct System {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    way: Way,
    samples: Vec<Sample>,
}

impl Drop for System {
    fn drop(&mut self) {
        // The child was started here and ends here; it may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(clippy::print_stdout, reason = "a program that prints its figures")]
fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (site, _nginx) = Site::make(folder.path())?;
    let mut systems = [
        start("plain Pingora", &["plain", path(&folder)?], Way::Direct)?,
        start(
            "whole road",
            &["road", path(&folder)?, &arguments.rules.to_string()],
            Way::Connect,
        )?,
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    for round in 0..arguments.rounds {
        println!(
            "round {}, load average {}",
            round + 1,
            stat::load_average()?
        );
        for system in &mut systems {
            let plan = Plan {
                target: system.address,
                way: system.way,
                connections: arguments.connections,
                time: Duration::from_secs(arguments.seconds),
            };
            let pid = system.child.id();
            runtime.block_on(load::drive(&site, &plan.warm_up()))?;
            let before = stat::cpu(pid)?;
            let latencies = runtime.block_on(load::drive(&site, &plan))?;
            let spent = stat::cpu(pid)?.saturating_sub(before);
            system
                .samples
                .push(Sample::new(latencies, spent, plan.time));
        }
    }
    let figures: Vec<_> = systems
        .iter()
        .map(|system| (system.name, stat::median(&system.samples)))
        .collect();
    println!(
        "{:<16} {:>10} {:>10} {:>10} {:>14}",
        "system", "req/s", "p50 ms", "p99 ms", "CPU us/request"
    );
    for (name, figure) in &figures {
        println!(
            "{name:<16} {:>10.0} {:>10.2} {:>10.2} {:>14.1}",
            figure.per_second, figure.p50_ms, figure.p99_ms, figure.cpu_us
        );
    }
    if let [(_, plain), (_, road)] = figures.as_slice() {
        println!(
            "whole road / plain Pingora, CPU per request: {:.2}",
            road.cpu_us / plain.cpu_us
        );
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

fn path(folder: &tempfile::TempDir) -> anyhow::Result<&str> {
    folder
        .path()
        .to_str()
        .context("the temporary folder is not UTF-8")
}

/// Starts a child and waits for the address it prints.
fn start(name: &'static str, arguments: &[&str], way: Way) -> anyhow::Result<System> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("the child's output")?;
    let mut line = String::new();
    if BufReader::new(output).read_line(&mut line)? == 0 {
        bail!("{name} did not start");
    }
    let address = line
        .trim()
        .parse()
        .with_context(|| format!("{name} printed `{}`", line.trim()))?;
    Ok(System {
        name,
        child,
        address,
        way,
        samples: Vec::new(),
    })
}
