//! The exeat binary: arguments, configuration, wiring, human text. It decides nothing about a call; read `args.rs` for
//! what can be asked, `commands/` for what is done about it, `gate/` for the gate itself.

mod args;
mod commands;
mod demo;
mod env;
mod folder;
mod gate;
mod notify;
mod passphrase;
mod presets;
mod settings;
mod shutdown;
mod socket;
mod telemetry;
mod ui;
mod upgrade;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;
use exeat_sandbox::doctor::DOCTOR;

use crate::{args::Cli, ui::Ending};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = exeat_sandbox::enter(std::env::args_os()) {
        return code;
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == DOCTOR)
    {
        return commands::doctor_inside();
    }
    // Secrets pass through: no other process of this user may look in, and no core is left.
    if let Err(error) = exeat_sandbox::protect_process() {
        ui::failed(&error.into());
        return Ending::Refused.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and those end well.
            error.print().unwrap_or_default();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match commands::run(cli) {
        Ok(ending) => ending.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            ui::failed(&error);
            Ending::Refused.into()
        }
    }
}

/// Whether the reader of our output went away, as `exeat tail | head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
