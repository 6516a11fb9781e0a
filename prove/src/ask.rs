//! One case put to the solver, and its model read back as a request.

use std::{path::PathBuf, time::Duration};

use cedar_policy::{Policy, PolicyId, PolicySet, Schema};
use cedar_policy_symcc::{
    CedarSymCompiler, CompiledPolicySet, Env,
    err::Error,
    solver::{LocalSolver, Solver as _},
};
use exeat_policy::proof::{Answer, Case, Counterexample};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

/// What a solver may need besides thinking: reading a case, writing a model.
const GRACE: Duration = Duration::from_secs(10);

/// A solver that runs.
pub(crate) struct Running {
    program: PathBuf,
    compiler: Option<CedarSymCompiler<LocalSolver>>,
}

/// Starts the solver and has it answer something.
///
/// # Errors
/// Why there is none, and how to get one.
pub(crate) async fn start(patience: Duration) -> Result<Running, String> {
    let program = named_solver().unwrap_or_else(|| PathBuf::from("cvc5"));
    let mut running = Running {
        program,
        compiler: None,
    };
    let first = async {
        running.begin(patience)?;
        let solver = running.compiler.as_mut().map(CedarSymCompiler::solver_mut);
        match solver {
            Some(solver) => solver
                .check_sat()
                .await
                .map_err(|problem| problem.to_string()),
            None => Err("it did not start".to_owned()),
        }
    };
    match timeout(GRACE, first).await {
        Ok(Ok(_)) => {}
        Ok(Err(problem)) => return Err(running.absent(&problem)),
        Err(_late) => return Err(running.absent("it does not answer")),
    }
    Ok(running)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is a program of its own; the variable names its solver"
)]
fn named_solver() -> Option<PathBuf> {
    std::env::var_os("CVC5").map(PathBuf::from)
}

impl Running {
    fn begin(&mut self, patience: Duration) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command
            .args(["--lang", "smt"])
            .arg(format!("--tlimit-per={}", patience.as_millis()))
            .kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map_err(|problem| chain(&problem))?;
        let compiler = CedarSymCompiler::new(solver).map_err(|problem| chain(&problem))?;
        self.compiler = Some(compiler);
        Ok(())
    }

    fn absent(&self, problem: &str) -> String {
        let program = self.program.display();
        format!(
            "there is no solver: `{program}` cannot be used ({problem})\n\
             help: cvc5 does the proofs; install it (https://cvc5.github.io) and put it on the PATH or name it in $CVC5,\n\
             or take the Python package: `pip install cvc5`, then set CVC5 to prove/cvc5_stdin.py of Exeat's source"
        )
    }
}

/// Puts one case to the solver. Whatever goes wrong is an answer that says so, never a proof.
pub(crate) async fn ask(running: &mut Running, case: &Case, patience: Duration) -> Answer {
    let unknown = |why: String| Answer::Unknown { why };
    if running.compiler.is_none()
        && let Err(problem) = running.begin(patience)
    {
        return unknown(problem);
    }
    let Some(compiler) = running.compiler.as_mut() else {
        return unknown("the solver does not run".to_owned());
    };
    let found = timeout(patience + GRACE, put(compiler, case)).await;
    let (answer, broken) = match found {
        Ok(Ok(None)) => (Answer::Nothing, false),
        Ok(Ok(Some(env))) => (read(&env), false),
        Ok(Err(Wrong::Solver(problem))) if matches!(*problem, Error::SolverUnknown) => (
            unknown("the solver gave up in the time it had".to_owned()),
            true,
        ),
        Ok(Err(Wrong::Solver(problem))) => (unknown(chain(&*problem)), true),
        Ok(Err(Wrong::Case(problem))) => (unknown(problem), false),
        Err(_late) => (
            unknown("the solver did not answer in time".to_owned()),
            true,
        ),
    };
    if broken {
        // What it still says belongs to no later case.
        running.compiler = None;
    }
    answer
}

enum Wrong {
    Solver(Box<Error>),
    Case(String),
}

async fn put(
    compiler: &mut CedarSymCompiler<LocalSolver>,
    case: &Case,
) -> Result<Option<Env>, Wrong> {
    let (schema, _) = Schema::from_cedarschema_str(&case.schema)
        .map_err(|problem| Wrong::Case(chain(&problem)))?;
    let envs: Vec<_> = schema.request_envs().collect();
    let env = envs
        .iter()
        .find(|env| AsRef::<str>::as_ref(env.action().id()) == case.tool.as_str())
        .ok_or_else(|| Wrong::Case(format!("`{}` is not in its schema", case.tool)))?;
    let assumption = format!(
        "forbid (principal, action, resource) unless {{ {} }};",
        case.assuming
    );
    let mut allowed = policies(&case.allowed)?;
    let assumption = Policy::parse(Some(PolicyId::new("assumption")), assumption)
        .map_err(|problem| Wrong::Case(chain(&problem)))?;
    allowed
        .add(assumption)
        .map_err(|problem| Wrong::Case(chain(&problem)))?;
    let compile = |set: &PolicySet| {
        CompiledPolicySet::compile(set, env, &schema)
            .map_err(|problem| Wrong::Case(chain(&problem)))
    };
    let allowed = compile(&allowed)?;
    let known = policies(&case.known)?;
    let found = if known.is_empty() {
        compiler
            .check_always_denies_with_counterexample_opt(&allowed)
            .await
    } else {
        let known = compile(&known)?;
        compiler
            .check_implies_with_counterexample_opt(&allowed, &known)
            .await
    };
    found.map_err(|problem| Wrong::Solver(Box::new(problem)))
}

fn policies(texts: &[Value]) -> Result<PolicySet, Wrong> {
    let mut set = PolicySet::new();
    for (index, text) in texts.iter().enumerate() {
        let id = PolicyId::new(format!("p{index}"));
        let policy = Policy::from_json(Some(id), text.clone())
            .map_err(|problem| Wrong::Case(chain(&problem)))?;
        set.add(policy)
            .map_err(|problem| Wrong::Case(chain(&problem)))?;
    }
    Ok(set)
}

/// What of a model is worth a person's time.
fn read(env: &Env) -> Answer {
    let context = env
        .request
        .context()
        .map(cedar_policy::Context::to_json_value);
    let Some(Ok(context)) = context else {
        return Answer::Unknown {
            why: "there is such a request, but it cannot be written down".to_owned(),
        };
    };
    let approval = context.pointer("/approval/by").and_then(Value::as_str);
    Answer::Request(Counterexample {
        arguments: context.get("args").cloned().unwrap_or(Value::Null),
        approval: approval.map(str::to_owned),
    })
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}
