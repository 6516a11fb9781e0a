//! Answers questions about every request a policy could ever see, with a solver.
//!
//! `exeat policy prove` writes [`Questions`] to standard input as JSON and reads one [`Answer`] for each case, a line
//! each, in their order. The solver is cvc5: the program that `$CVC5` names, else `cvc5` on the PATH. This program reads
//! no configuration, opens no connection and decides about no call.

mod ask;

use std::{
    io::{Read as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use exeat_policy::proof::{Answer, Questions};

/// Longest question, in bytes.
const QUESTION_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// It ended with an answer to every case, whatever the answers are.
const ANSWERED: u8 = 0;
/// The question could not be read.
const USAGE: u8 = 2;
/// There is no solver.
const NO_SOLVER: u8 = 4;

fn main() -> ExitCode {
    let code = match questions() {
        Ok(questions) => run(&questions),
        Err(problem) => say(
            &format!("exeat-prove: {problem}\nIt is called by `exeat policy prove`."),
            USAGE,
        ),
    };
    ExitCode::from(code)
}

fn questions() -> anyhow::Result<Questions> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(QUESTION_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn run(questions: &Questions) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => return say(&format!("exeat-prove: {problem}"), USAGE),
    };
    let patience = Duration::from_millis(questions.patience_ms);
    runtime.block_on(async {
        let mut solver = match ask::start(patience).await {
            Ok(solver) => solver,
            Err(problem) => return say(&problem, NO_SOLVER),
        };
        for case in &questions.cases {
            let answer = ask::ask(&mut solver, case, patience).await;
            if !tell(&answer) {
                break;
            }
        }
        ANSWERED
    })
}

/// Writes one answer; false when nobody reads any more.
fn tell(answer: &Answer) -> bool {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(answer).unwrap_or_default();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

fn say(problem: &str, code: u8) -> u8 {
    let mut err = std::io::stderr().lock();
    writeln!(err, "{problem}").unwrap_or_default();
    code
}
