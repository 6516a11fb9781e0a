//! Budgets of the real binary: under many connections at once, across a kill, while bytes flow, and on the command line.

use std::{
    io::Error as Gone,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    load::{HOST, Speaks, Way, whole_bytes},
    support::{Gate, Place, text},
    upgrade::{POLICY, World},
};

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 1000;

fn world(limits: &str) -> World {
    let world = World::new();
    world.place.write(
        "policy.toml",
        &format!("{POLICY}[limits.claude]\n{limits}\n"),
    );
    world
}

/// What many connections that asked at once saw.
#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    refused: AtomicUsize,
    admitted: watch::Sender<usize>,
}

impl Seen {
    fn admitted(&self) -> usize {
        *self.admitted.borrow()
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Acquire)
    }
}

/// Asks over many connections at once until there were enough requests; a connection that breaks ends.
async fn ask_all(way: &Way, seen: &Arc<Seen>) {
    let tasks = TaskTracker::new();
    for _ in 0..CONNECTIONS {
        let (way, seen) = (way.clone(), Arc::clone(seen));
        tasks.spawn(async move {
            while ask_on_one(&way, &seen).await.is_ok() {
                if seen.asked.load(Ordering::Acquire) >= REQUESTS {
                    break;
                }
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn ask_on_one(way: &Way, seen: &Seen) -> Result<(), Gone> {
    let io = TokioIo::new(way.connect(Speaks::Http1).await?);
    let (mut sender, connection) = http1::handshake(io).await.map_err(Gone::other)?;
    TaskTracker::new().spawn(async move { connection.await.unwrap_or_default() });
    while seen.asked.fetch_add(1, Ordering::AcqRel) < REQUESTS {
        let request = Request::get("/notes/1").header(header::HOST, HOST);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.map_err(Gone::other)?;
        let (status, closes) = (
            answer.status(),
            answer.headers().contains_key(header::CONNECTION),
        );
        match status {
            StatusCode::OK => seen.admitted.send_modify(|count| *count += 1),
            StatusCode::PAYMENT_REQUIRED => drop(seen.refused.fetch_add(1, Ordering::AcqRel)),
            other => panic!("{other}"),
        }
        answer.into_body().collect().await.map_err(Gone::other)?;
        if closes || sender.ready().await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The one budget of a place, and an amount of it.
#[track_caller]
fn budget(place: &Place) -> Value {
    let mut all = place.values(&["budget", "list"]);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn amounts<const N: usize>(budget: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| budget[name].as_u64().unwrap())
}

/// Receipts of calls that were let through.
fn let_through(place: &Place) -> usize {
    let all = place.values(&["receipt", "list", "--limit", "100000"]);
    let refused = |receipt: &&Value| receipt["decision"] == "refused";
    all.len() - all.iter().filter(refused).count()
}

#[test]
fn of_a_thousand_requests_over_many_connections_exactly_a_hundred_are_admitted() {
    let world = world("calls = { day = 100 }");
    let gate = world.place.serve();
    let seen = Arc::new(Seen::default());
    world.runtime.block_on(ask_all(&world.way(&gate), &seen));
    assert_eq!((seen.admitted(), seen.refused()), (100, REQUESTS - 100));
    assert_eq!(let_through(&world.place), 100);
    let budget = budget(&world.place);
    assert_eq!(budget["budget"], "claude/calls/day");
    assert_eq!(
        amounts(&budget, ["limit", "spent", "reserved", "held", "free"]),
        [100, 100, 0, 0, 0]
    );
    gate.stop();
}

#[test]
fn a_gate_that_is_killed_in_the_middle_goes_on_counting_where_it_was() {
    let world = world("calls = { 24h = 100 }");
    let gate = world.place.serve();
    let seen = Arc::new(Seen::default());
    world.runtime.block_on(async {
        let way = world.way(&gate);
        let asking = ask_all(&way, &seen);
        let killing = async {
            let mut admitted = seen.admitted.subscribe();
            admitted.wait_for(|count| *count >= 40).await.unwrap();
            gate.signal("KILL");
        };
        tokio::join!(asking, killing);
    });
    let before = seen.admitted();
    assert!((40..=100).contains(&before), "{before}");
    drop(gate);
    let gate = world.place.serve();
    let [spent, held] = amounts(&budget(&world.place), ["spent", "held"]);
    let counted = usize::try_from(spent + held).unwrap();
    assert!((before..=100).contains(&counted), "{before} of {counted}");
    let seen = Arc::new(Seen::default());
    world.runtime.block_on(ask_all(&world.way(&gate), &seen));
    assert_eq!(seen.admitted(), 100 - counted);
    assert_eq!(let_through(&world.place), 100);
    let [spent, held] = amounts(&budget(&world.place), ["spent", "held"]);
    assert_eq!(spent + held, 100);
    gate.stop();
}

#[test]
fn a_download_is_cut_where_its_budget_ends() {
    let most = whole_bytes() / 2;
    let world = world(&format!("bytes-down = {{ day = \"{most} B\" }}"));
    let gate = world.place.serve();
    world.upstream.let_go();
    let got = world.runtime.block_on(async {
        let way = world.way(&gate);
        way.download(Speaks::Http1, "/download")
            .await
            .finish()
            .await
    });
    assert!(got.is_err(), "{got:?}");
    let budget = closed(&world.place);
    let most = u64::try_from(most).unwrap();
    assert_eq!(amounts(&budget, ["spent", "free"]), [most, 0]);
    let receipts = world.place.values(&["receipt", "list"]);
    assert_eq!(receipts[0]["outcome"]["reason"], "budget-exhausted");
    gate.stop();
}

/// The one budget, once nothing is reserved any more.
fn closed(place: &Place) -> Value {
    for _ in 0..400 {
        let budget = budget(place);
        if budget["reserved"] == 0 {
            return budget;
        }
    }
    panic!("a call is still open: {}", budget(place));
}

fn refusal(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn an_operator_can_tighten_a_budget_and_never_widen_it() {
    let world = world("spend = { day = \"3 USD\" }\ncalls = { hour = 5 }");
    let place = &world.place;
    let gate: Gate = place.serve();
    let told = refusal(place, &["budget", "set", "claude/spend/day", "3.01 USD"]);
    assert!(
        told.contains("no more than 3.00 USD: raise it in policy.toml"),
        "{told}"
    );
    let told = refusal(place, &["budget", "set", "claude/spent/day", "1 USD"]);
    assert!(told.contains("did you mean `claude/spend/day`?"), "{told}");
    let told = refusal(place, &["budget", "set", "claude/spend/day", "1 EUR"]);
    assert!(told.contains("USD"), "{told}");
    let set = place.prints(&["budget", "set", "claude/spend/day", "1.50 USD"]);
    assert_eq!(
        set.trim(),
        "claude/spend/day: at most 1.50 USD, 1.50 USD left"
    );
    place.prints(&["budget", "set", "claude/calls/hour", "1"]);
    let listed = place.prints(&["budget", "list"]);
    assert!(
        listed.contains("3.00 USD") && listed.contains("1.50 USD"),
        "{listed}"
    );
    gate.stop();

    // It outlives the process, also when the file says more by now.
    let policy = format!("{POLICY}[limits.claude]\ncalls = {{ hour = 50 }}\n");
    place.write("policy.toml", &policy);
    let gate = place.serve();
    let seen = Arc::new(Seen::default());
    world.runtime.block_on(ask_all(&world.way(&gate), &seen));
    assert_eq!(seen.admitted(), 1);
    // No limit declares the other one any more; what was set on it can still be taken back.
    let named = |name: &str| {
        let mut all = place.values(&["budget", "list"]).into_iter();
        all.find(|budget| budget["budget"] == name)
    };
    assert_eq!(named("claude/spend/day").unwrap()["set"], 1_500_000);
    place.prints(&["budget", "set", "claude/spend/day", "none"]);
    assert_eq!(named("claude/spend/day"), None);
    place.prints(&["budget", "set", "claude/calls/hour", "none"]);
    assert_eq!(named("claude/calls/hour").unwrap()["free"], 49);
    gate.stop();
}
