//! The doctor's other half, which runs as the command of a sandbox: takes what to try from standard input and prints what
//! came of it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use exeat_sandbox::doctor::{Check, Errand, descriptors, probe};
use serde::{Deserialize, Serialize};

use super::{known, known::Known, through};
use crate::env;

/// Everything to try.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// What the kernel has to hold.
    pub(super) errand: Errand,
    /// Ports of the gate and of listeners made for this, on loopback outside.
    pub(super) ports: Vec<u16>,
    /// The hosts of the doctor's own gate, if this is its sandbox.
    pub(super) known: Option<Known>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
}

/// Runs the other half.
pub(crate) fn run() -> ExitCode {
    // First of all, before anything is opened here.
    let inherited = descriptors();
    let Ok(Assignment {
        mut errand,
        ports,
        known,
    }) = serde_json::from_reader(io::stdin())
    else {
        return ExitCode::from(2);
    };
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment = env::all().into_iter();
    errand.environment = environment
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let mut checks = probe(&errand, &inherited);
    checks.extend(through::probe(&ports));
    checks.extend(known.iter().flat_map(known::probe));
    let mut out = io::stdout().lock();
    let written = serde_json::to_writer(&mut out, &Report { checks }).map_err(io::Error::from);
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_to_tell) => ExitCode::FAILURE,
    }
}
