//! `exeat policy prove`: questions about every request there could be, put to a solver in another program.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};
use exeat_policy::{
    Policy,
    proof::{Answer, Case, NOT_COVERED, Questions, widening},
};
use exeat_types::{AgentId, ToolName};
use serde::Serialize;
use serde_json::Value;

use super::{Place, check, sides};
use crate::{
    args::PolicyProve,
    ui::{self, Ending, Output, Paint},
};

/// The program that asks the solver.
const PROVER: &str = "exeat-prove";
/// Its exit status when there is no solver.
const NO_SOLVER: i32 = 4;

/// One question with its answer.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proved<'a> {
    agent: &'a AgentId,
    tool: &'a ToolName,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// What is asked, beside what could not be.
struct Asked {
    cases: Vec<Case>,
    /// Pairs that need no solver.
    equal: usize,
    unknown: Vec<(AgentId, ToolName, String)>,
    /// The end of a sentence that begins with an agent.
    words: [&'static str; 2],
}

pub(super) fn prove(place: &Place, order: &PolicyProve) -> anyhow::Result<Ending> {
    let asked = match (&order.old, &order.new) {
        (Some(old), Some(new)) => change(place, old, new)?,
        _ => reach(place, order)?,
    };
    let Some(answers) = answers(&asked.cases, order.patience)? else {
        return Ok(Ending::Unproven);
    };
    let mut worst = Ending::Done;
    for (case, answer) in asked.cases.iter().zip(&answers) {
        tell(place, &asked.words, (&case.agent, &case.tool, answer))?;
        worst = worse(worst, answer);
    }
    for (agent, tool, why) in &asked.unknown {
        let answer = Answer::Unknown { why: why.clone() };
        tell(place, &asked.words, (agent, tool, &answer))?;
        worst = worse(worst, &answer);
    }
    if place.output == Output::Text {
        let count = asked.cases.len() + asked.unknown.len();
        ui::say(format_args!(
            "asked: {count}; without a solver, as nothing about them changes: {}",
            asked.equal
        ));
        ui::say("what a proof says nothing of:");
        for line in NOT_COVERED {
            ui::say(format_args!("  - {line}"));
        }
    }
    Ok(worst)
}

/// A counterexample outweighs a question that is open, and that outweighs a proof.
const fn worse(worst: Ending, answer: &Answer) -> Ending {
    match (worst, answer) {
        (Ending::Refused, _) | (_, Answer::Request(_)) => Ending::Refused,
        (_, Answer::Unknown { .. }) => Ending::Unproven,
        (worst, Answer::Nothing) => worst,
    }
}

/// Can an agent reach tools without approval?
fn reach(place: &Place, order: &PolicyProve) -> anyhow::Result<Asked> {
    let policy = match &order.rules {
        Some(named) => sides::read(place, named)?,
        None => check::load(place)?.1,
    };
    let agents: Vec<AgentId> = match &order.agent {
        Some(agent) => vec![agent.clone()],
        None => policy.made_of().1.agents.keys().cloned().collect(),
    };
    let mut tools: Vec<ToolName> = order.tool.iter().cloned().collect();
    if let Some(category) = &order.category {
        let of = policy
            .tools()
            .filter(|tool| tool.category.as_str() == category);
        tools.extend(of.map(|tool| tool.name.clone()));
        if tools.is_empty() {
            bail!("no tool has the category `{category}`");
        }
    }
    let mut asked = Asked {
        cases: Vec::new(),
        equal: 0,
        unknown: Vec::new(),
        words: [
            "never reaches it without an approval",
            "reaches it without an approval",
        ],
    };
    for agent in &agents {
        for tool in &tools {
            let case = policy.reaching(agent, tool).map_err(anyhow::Error::msg)?;
            asked.cases.push(case);
        }
    }
    Ok(asked)
}

/// Does a change widen access?
fn change(place: &Place, old: &str, new: &str) -> anyhow::Result<Asked> {
    let old: Policy = sides::read(place, old)?;
    let new: Policy = sides::read(place, new)?;
    let mut asked = Asked {
        cases: Vec::new(),
        equal: 0,
        unknown: Vec::new(),
        words: ["may do no more than before", "may do more than before"],
    };
    for agent in new.made_of().1.agents.keys() {
        for tool in new.tools() {
            match widening((&old, &new), agent, &tool.name) {
                Ok(None) => asked.equal += 1,
                Ok(Some(case)) => asked.cases.push(case),
                Err(why) => asked.unknown.push((agent.clone(), tool.name.clone(), why)),
            }
        }
    }
    Ok(asked)
}

fn tell(
    place: &Place,
    [no, yes]: &[&str; 2],
    (agent, tool, answer): (&AgentId, &ToolName, &Answer),
) -> anyhow::Result<()> {
    let proved = Proved {
        agent,
        tool,
        answer,
    };
    place.print(&proved, || {
        let paint = Paint::on_stdout();
        match answer {
            Answer::Nothing => format!("{}  {agent}  {tool}: {no}", paint.green("proven ")),
            Answer::Unknown { why } => format!("{}  {agent}  {tool}: {why}", paint.bold("unknown")),
            Answer::Request(found) => {
                let approval = match &found.approval {
                    None => "nobody asked".to_owned(),
                    Some(by) => format!("approved by {by}"),
                };
                let arguments = written(&found.arguments);
                format!(
                    "{}  {agent}  {tool}: {yes}\n         for example with {arguments}, {approval}",
                    paint.red("refuted")
                )
            }
        }
    })
}

/// Arguments as people read them; what rules do not read can have any value.
fn written(arguments: &Value) -> String {
    match arguments.as_object() {
        None => "any arguments".to_owned(),
        Some(members) if members.is_empty() => "any arguments".to_owned(),
        Some(_) => format!("the arguments {arguments}"),
    }
}

/// Has the other program answer every case, in order; nothing if it or its solver is not there, which is told.
fn answers(cases: &[Case], patience: std::time::Duration) -> anyhow::Result<Option<Vec<Answer>>> {
    if cases.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let questions = Questions {
        cases: cases.to_vec(),
        patience_ms: u64::try_from(patience.as_millis()).context("that is too long")?,
    };
    let text = serde_json::to_vec(&questions).context("cannot write the question")?;
    let Some(mut child) = start()? else {
        return Ok(None);
    };
    let mut input = child.stdin.take().context("the prover takes no question")?;
    let writing = std::thread::spawn(move || input.write_all(&text));
    let out = child.stdout.take().context("the prover says nothing")?;
    let mut answers = Vec::with_capacity(cases.len());
    for line in BufReader::new(out).lines() {
        let line = line.context("the prover broke off")?;
        answers.push(serde_json::from_str(&line).context("cannot read the prover's answer")?);
    }
    let status = child.wait().context("the prover broke off")?;
    let told = writing.join().is_ok_and(|written| written.is_ok());
    if status.code() == Some(NO_SOLVER) {
        return Ok(None);
    }
    if !status.success() || !told || answers.len() != cases.len() {
        bail!("the prover broke off ({status})");
    }
    Ok(Some(answers))
}

/// Starts the program that lies beside this one, else the one on the PATH.
fn start() -> anyhow::Result<Option<Child>> {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|path| Some(path.parent()?.join(PROVER)));
    let program = beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(PROVER));
    let mut command = Command::new(&program);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    match started {
        Ok(child) => Ok(Some(child)),
        Err(problem) if problem.kind() == ErrorKind::NotFound => {
            ui::say(format_args!(
                "there is no `{PROVER}` beside this program or on the PATH\n\
                 help: build it from Exeat's source with `cargo build --release -p exeat-prove`, and put it there"
            ));
            Ok(None)
        }
        Err(problem) => {
            Err(problem).with_context(|| format!("cannot start `{}`", program.display()))
        }
    }
}
