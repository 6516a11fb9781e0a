//! Checks on the repository itself: `cargo run -p xtask -- tidy` runs them all, `-- reasons` prints docs/REASONS.md's
//! table. Each check is a test too. It looks at files and `cargo metadata`, never at the network, and changes nothing.

mod attacks;
mod config;
mod files;
mod graph;
mod lock;
mod reasons;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match std::env::args().nth(1).as_deref() {
        Some("reasons") => {
            write!(out, "{}", reasons::table())?;
            Ok(ExitCode::SUCCESS)
        }
        Some("tidy") => {
            let problems = tidy(&root())?;
            for problem in &problems {
                writeln!(out, "{problem}")?;
            }
            writeln!(out, "{} problems", problems.len())?;
            Ok(if problems.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        _ => {
            writeln!(out, "usage: cargo run -p xtask -- tidy | reasons")?;
            Ok(ExitCode::from(2))
        }
    }
}

/// Every problem of every check.
fn tidy(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut problems = graph::check(root)?;
    problems.extend(files::check(root)?);
    problems.extend(lock::check(root)?);
    problems.extend(reasons::check(root)?);
    problems.extend(config::check(root)?);
    problems.extend(attacks::check(root)?);
    Ok(problems)
}

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}
