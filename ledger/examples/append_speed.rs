//! How many receipts a second become durable with so many calls in flight, and how many records a second are verified.
//!
//! `cargo run --release -p exeat-ledger --example append_speed [FOLDER [SECONDS [BUDGETS]]]`; prints lines of JSON.
//! Each call sets aside something of so many budgets. Run it on the
//! disk that counts: on a file system in memory it says nothing.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exeat_ledger::{
    CredentialUse, Ending, Filter, Intent, Ledger, NoteKey, Options, Outcome, Reservation,
    Settlement, Window,
    verify::{Signatures, verify_export, verify_folder},
};
use exeat_types::{
    AccountId, AgentId, Algorithm, CallId, Clock, CredentialId, DeviceFailure, Digest, Origin,
    Seal, Sealer, Secret, Signer, SystemClock, Timestamp, ToolName,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let folder = arguments
        .next()
        .map_or_else(|| temporary.path().join("ledger"), PathBuf::from);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let budgets = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let keys = Arc::new(Keys(
        Ed25519KeyPair::from_seed_unchecked(&[1; 32]).map_err(|e| e.to_string())?,
    ));
    let mut out = std::io::stdout().lock();
    for in_flight in [1, 8, 64, 256] {
        let dir = folder.join(in_flight.to_string());
        let ledger = open(&dir, &keys, &clock)?;
        let run = append(
            &ledger,
            (in_flight, budgets),
            Duration::from_secs(seconds),
            &clock,
        )?;
        let rate = run.records / run.time.as_secs_f64();
        let per_commit = run.records / run.commits.max(1.0);
        write!(
            out,
            "{{\"in_flight\":{in_flight},\"records_per_s\":{rate:.0},"
        )?;
        write!(
            out,
            "\"calls_per_s\":{:.0},\"records_per_commit\":{per_commit:.1},",
            rate / 2.0
        )?;
        writeln!(
            out,
            "\"wait_p50_us\":{},\"wait_p99_us\":{}}}",
            run.p50_us, run.p99_us
        )?;
        if in_flight == 64 {
            let mut text = Vec::new();
            let lines = ledger.export(&mut text, &Filter::default())?;
            ledger.close();
            drop(ledger);
            let key = NoteKey::of(&*keys)?;
            for signatures in [Signatures::Last, Signatures::Every] {
                let folder_rate = cpu_rate(lines, || {
                    verify_folder(&dir, &key, None, signatures).map(drop)
                })?;
                let export_rate = cpu_rate(lines, || {
                    verify_export(text.as_slice(), &key, None, signatures).map(drop)
                })?;
                write!(out, "{{\"verify\":\"{signatures:?}\",\"records\":{lines},")?;
                write!(out, "\"folder_per_cpu_s\":{folder_rate:.0},")?;
                writeln!(out, "\"export_per_cpu_s\":{export_rate:.0}}}")?;
            }
            let open_rate = cpu_rate(lines, || open(&dir, &keys, &clock).map(drop))?;
            writeln!(out, "{{\"open_per_cpu_s\":{open_rate:.0}}}")?;
        }
    }
    Ok(())
}

fn open(dir: &Path, keys: &Arc<Keys>, clock: &Arc<dyn Clock>) -> Result<Ledger, Failure> {
    let (signer, sealer): (Arc<dyn Signer>, Arc<dyn Sealer>) = (keys.clone(), keys.clone());
    let (ledger, _) = Ledger::open(
        Options::new(dir.to_owned()),
        signer,
        sealer,
        Arc::clone(clock),
    )?;
    Ok(ledger)
}

/// Records in a second of this thread's time on a processor, so that a busy machine says the same.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn cpu_rate<E: Into<Failure>>(
    records: u64,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<f64, Failure> {
    let begun = cpu_ns()?;
    work().map_err(Into::into)?;
    Ok(records as f64 * 1e9 / (cpu_ns()? - begun))
}

fn cpu_ns() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

struct Run {
    records: f64,
    commits: f64,
    time: Duration,
    p50_us: u128,
    p99_us: u128,
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn append(
    ledger: &Ledger,
    (in_flight, budgets): (u64, usize),
    time: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<Run, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let begun = clock.monotonic();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (ledger, stop, clock) = (ledger.clone(), Arc::clone(&stop), Arc::clone(clock));
        tasks.spawn_on(calls(ledger, stop, clock, budgets), runtime.handle());
    }
    let mut waits: Vec<Duration> = runtime.block_on(async {
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(waits) = tasks.join_next().await {
            all.extend(waits??);
        }
        Ok::<_, Failure>(all)
    })?;
    waits.sort_unstable();
    let pick = |part: usize| {
        waits
            .get(waits.len() * part / 100)
            .map_or(0, Duration::as_micros)
    };
    let records = waits.len() as f64 * 2.0;
    let size = ledger
        .checkpoint()
        .and_then(|note| note.lines().nth(1)?.parse::<f64>().ok());
    let commits = size.unwrap_or_default() + 1.0 - records;
    let time = clock.monotonic() - begun;
    Ok(Run {
        records,
        commits,
        time,
        p50_us: pick(50),
        p99_us: pick(99),
    })
}

/// One call after the other until told to stop; gives how long each intent took to become durable.
async fn calls(
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    budgets: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut waits = Vec::new();
    let mut model = intent(CallId::new(clock.now())?)?;
    let names = ["claude/calls/day", "claude/tokens/24h", "claude/spend"];
    let reserved = names.iter().take(budgets).map(|name| reservation(name));
    model.reservations = reserved.collect();
    let settled = model.reservations.iter().map(|line| Settlement {
        amount: 1,
        budget: line.budget.clone(),
        unit: line.unit.clone(),
    });
    let settled: Vec<_> = settled.collect();
    while !stop.load(Ordering::Relaxed) {
        let call = CallId::new(clock.now())?;
        let begun = clock.monotonic();
        ledger
            .intent(Intent {
                call,
                ..model.clone()
            })
            .done()
            .await?;
        waits.push(clock.monotonic() - begun);
        let ended = Outcome {
            settled: settled.clone(),
            ..outcome(call)
        };
        ledger.outcome(ended).done().await?;
    }
    Ok(waits)
}

fn intent(call: CallId) -> Result<Intent, Failure> {
    Ok(Intent {
        account: AccountId::local(),
        agent: AgentId::new("claude")?,
        approval: None,
        argument_digest: Digest::of(b"arguments"),
        call,
        call_digest: Digest::of(b"call"),
        capture: None,
        category: "write".to_owned(),
        credential: Some(CredentialUse {
            id: CredentialId::new("github")?,
            kind: "bearer".to_owned(),
            thumbprint: "5f2c1a".to_owned(),
            version: 3,
        }),
        method: "POST".to_owned(),
        observed: false,
        origin: Origin::parse("https://api.github.com")?,
        path: "/repos/{owner}/{repo}/issues".to_owned(),
        policy_digest: Digest::of(b"policy"),
        reservations: Vec::new(),
        risk: None,
        rules: vec!["open issues in acme".to_owned()],
        run: None,
        seal: Seal::Sandbox,
        tool: ToolName::new("github.issues.create")?,
    })
}

fn reservation(name: &str) -> Reservation {
    Reservation {
        amount: 2,
        budget: name.to_owned(),
        limit: Some(u64::MAX),
        unit: "calls".to_owned(),
        window: match name.rsplit_once('/') {
            Some((_, "24h")) => Some(Window::Rolling { seconds: 86_400 }),
            Some((_, "day")) => Some(Window::Fixed {
                from: Timestamp::from_millis(0),
                until: Timestamp::from_millis(u64::MAX),
            }),
            _ => None,
        },
    }
}

fn outcome(call: CallId) -> Outcome {
    Outcome {
        durations_us: BTreeMap::from([("forward".to_owned(), 812), ("total".to_owned(), 1034)]),
        request_bytes: 122,
        response_bytes: 2048,
        response_digest: Some(Digest::of(b"response")),
        status: Some(201),
        ..Outcome::ended(call, Ending::Completed)
    }
}

struct Keys(Ed25519KeyPair);

impl Signer for Keys {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDsa
    }

    fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl Sealer for Keys {
    fn seal(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        Err(DeviceFailure("not needed here"))
    }

    fn open(&self, _: &str, _: &[u8]) -> Result<Secret, DeviceFailure> {
        Err(DeviceFailure("not needed here"))
    }
}
