//! Notices with a carrier that only writes down what it is given.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use exeat_types::{Origin, Signer, SystemClock};
use http::StatusCode;
use serde_json::Value;

use super::*;

#[derive(Default)]
struct Written {
    letters: Mutex<Vec<Letter>>,
    answers: Mutex<VecDeque<Result<StatusCode, Undelivered>>>,
    kept: Mutex<Vec<Subscription>>,
    keys_asked: AtomicUsize,
}

#[async_trait]
impl Carrier for Written {
    async fn post(&self, letter: Letter) -> Result<StatusCode, Undelivered> {
        self.letters.lock().unwrap().push(letter);
        let next = self.answers.lock().unwrap().pop_front();
        next.unwrap_or(Ok(StatusCode::OK))
    }

    async fn signer(&self) -> Result<Arc<dyn Signer>, Undelivered> {
        self.keys_asked.fetch_add(1, Ordering::SeqCst);
        Err(Undelivered::NotKept)
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>, Undelivered> {
        Ok(self.kept.lock().unwrap().clone())
    }

    async fn keep(&self, subscriptions: Vec<Subscription>) -> Result<(), Undelivered> {
        *self.kept.lock().unwrap() = subscriptions;
        Ok(())
    }
}

fn notice() -> Notice {
    Notice {
        agent: "buyer".to_owned(),
        approval: "apr-00000000000000000000000001".to_owned(),
        expires: "2027-01-15T08:00:00.000Z".to_owned(),
        text: "buyer asks for approval of pay <now> & here".to_owned(),
        tool: "pay".to_owned(),
        url: "http://localhost:8089/approvals/apr-00000000000000000000000001".to_owned(),
    }
}

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn ntfy() -> Channel {
    Channel::Ntfy {
        origin: origin("https://ntfy.example"),
        topic: "gate".to_owned(),
        token: Some("sealed:ntfy".to_owned()),
    }
}

fn notifier(channels: Vec<Channel>) -> (Arc<Notifier>, Arc<Written>) {
    let written = Arc::new(Written::default());
    let carrier = Arc::clone(&written) as Arc<dyn Carrier>;
    let clock = Arc::new(SystemClock::new());
    let console = PublicOrigin::local(8089);
    let notifier = Notifier::new(carrier, clock, console, TaskTracker::new());
    notifier.use_channels(channels);
    (notifier, written)
}

async fn told(notifier: &Arc<Notifier>) {
    notifier.tell(&notice(), &CancellationToken::new());
    notifier.tasks.close();
    notifier.tasks.wait().await;
}

#[tokio::test]
async fn ntfy_is_posted_to_its_topic_with_a_link_and_the_name_of_its_token() {
    let (notifier, written) = notifier(vec![ntfy()]);
    told(&notifier).await;
    let letters = written.letters.lock().unwrap();
    let [letter] = letters.as_slice() else {
        panic!("{} letters", letters.len());
    };
    assert_eq!(letter.target, "/gate");
    assert_eq!(letter.body, notice().text);
    assert_eq!(letter.headers["click"], notice().url);
    assert_eq!(letter.headers["title"], "Approval needed");
    assert_eq!(
        letter.secret,
        Some(SecretIn::Token("sealed:ntfy".to_owned()))
    );
}

#[tokio::test]
async fn a_webhook_has_the_documented_form_and_nothing_in_it_is_markup_but_ours() {
    let (notifier, written) = notifier(vec![Channel::Webhook {
        origin: origin("https://hooks.example"),
        path: "sealed:hook".to_owned(),
    }]);
    told(&notifier).await;
    let letters = written.letters.lock().unwrap();
    let body: Value = serde_json::from_slice(&letters[0].body).unwrap();
    let text = body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!(body["blocks"][0]["text"]["type"], "mrkdwn");
    assert!(text.contains("pay &lt;now&gt; &amp; here"), "{text}");
    assert!(text.ends_with("|Look at it in the console>"), "{text}");
    assert!(body["text"].as_str().unwrap().contains(&notice().url));
    assert_eq!(
        letters[0].secret,
        Some(SecretIn::Target("sealed:hook".to_owned()))
    );
}

#[track_caller]
fn check_tries(answers: Vec<Result<StatusCode, Undelivered>>, expected: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (notifier, written) = notifier(vec![ntfy()]);
    written.answers.lock().unwrap().extend(answers);
    runtime.block_on(told(&notifier));
    assert_eq!(written.letters.lock().unwrap().len(), expected);
}

#[test]
fn a_server_that_is_away_is_tried_three_times_and_one_that_refuses_once() {
    let away = || Err(Undelivered::Unreached("away".to_owned()));
    check_tries(vec![Ok(StatusCode::OK)], 1);
    check_tries(vec![away(), Ok(StatusCode::OK)], 2);
    check_tries(vec![away(), Ok(StatusCode::BAD_GATEWAY), away(), away()], 3);
    check_tries(
        vec![Ok(StatusCode::TOO_MANY_REQUESTS), Ok(StatusCode::OK)],
        2,
    );
    check_tries(vec![Ok(StatusCode::FORBIDDEN)], 1);
    check_tries(vec![Ok(StatusCode::FOUND)], 1);
    check_tries(vec![Err(Undelivered::NoSecret)], 1);
}

#[tokio::test]
async fn a_program_is_given_the_notice_and_nothing_of_our_environment() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("notice");
    let script = format!("cat > {0}; env >> {0}", file.display());
    let argv = ["/bin/sh", "-c", &script].map(str::to_owned);
    let (notifier, _written) = notifier(vec![Channel::Command(argv.to_vec())]);
    told(&notifier).await;
    let text = std::fs::read_to_string(file).unwrap();
    let (json, environment) = text.split_once('\n').unwrap();
    let read: Value = serde_json::from_str(json).unwrap();
    assert_eq!(read, serde_json::to_value(notice()).unwrap());
    assert!(!environment.contains("CARGO"), "{environment}");
}

const POINT: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

fn browser(endpoint: &str) -> Subscription {
    Subscription::new(endpoint, POINT, AUTH).unwrap()
}

#[tokio::test]
async fn a_browser_is_told_only_over_a_push_service_that_the_settings_name() {
    let endpoint = "https://push.example/CANARY-browser";
    let (none, _written) = notifier(vec![ntfy()]);
    let refused = none.subscribe(browser(endpoint)).await;
    assert_eq!(refused, Err(Unusable::NoChannel));
    let (notifier, written) = notifier(vec![Channel::WebPush {
        origins: vec![origin("https://push.example")],
        contact: None,
    }]);
    let elsewhere = browser("https://elsewhere.example/CANARY-browser");
    let refused = notifier.subscribe(elsewhere).await;
    assert_eq!(refused, Err(Unusable::Elsewhere));
    for _ in 0..2 {
        notifier.subscribe(browser(endpoint)).await.unwrap();
    }
    assert_eq!(written.kept.lock().unwrap().len(), 1);
    assert!(!format!("{:?}", browser(endpoint)).contains("CANARY"));
    let id = browser(endpoint).id();
    assert_eq!(notifier.forget(&id).await, Ok(true));
    assert_eq!(notifier.forget(&id).await, Ok(false));
}

#[test]
fn a_subscription_is_what_browsers_write_and_nothing_else() {
    let good = "https://push.example/a/b?c=d";
    assert!(Subscription::new(good, POINT, AUTH).is_ok());
    for endpoint in [
        "http://push.example/a",
        "https://push.example",
        "https://user@push.example/a",
        "https://push.example/a b",
        "https://push.example/a\r\nx: y",
        "https://push.example/#a",
        "",
    ] {
        let made = Subscription::new(endpoint, POINT, AUTH);
        assert_eq!(made, Err(Unusable::Malformed), "{endpoint}");
    }
    assert!(Subscription::new(good, AUTH, AUTH).is_err());
    assert!(Subscription::new(good, POINT, POINT).is_err());
    assert!(Subscription::new(good, "!", "!").is_err());
}

#[tokio::test]
async fn asking_for_the_key_of_web_push_makes_none_and_declaring_the_channel_does() {
    let push = Channel::WebPush {
        origins: vec![origin("https://push.example")],
        contact: None,
    };
    let (notifier, written) = notifier(vec![push]);
    assert!(notifier.push_key().is_err());
    assert_eq!(written.keys_asked.load(Ordering::SeqCst), 0);
    let (_questions, questions) = tokio::sync::broadcast::channel(1);
    let (requests, requests_told) = tokio::sync::broadcast::channel(1);
    drop(requests);
    let news = News {
        questions,
        requests: requests_told,
    };
    notifier.follow(news, CancellationToken::new()).await;
    assert_eq!(written.keys_asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_channel_that_hangs_takes_no_room_from_the_others() {
    let hangs = Channel::Command(vec!["/bin/sleep".to_owned(), "5".to_owned()]);
    let (notifier, written) = notifier(vec![hangs, ntfy()]);
    let stop = CancellationToken::new();
    for _ in 0..DELIVERIES_MAX {
        notifier.tell(&notice(), &stop);
    }
    while written.letters.lock().unwrap().len() < DELIVERIES_MAX {
        tokio::task::yield_now().await;
    }
    notifier.tell(&notice(), &stop);
    while written.letters.lock().unwrap().len() <= DELIVERIES_MAX {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    notifier.tasks.close();
    notifier.tasks.wait().await;
}

#[test]
fn a_request_for_more_is_a_notice_that_leads_to_the_page_of_requests() {
    let request = serde_json::json!([
        {"type": "read", "resource": "mail.*", "filter": {"folder": "CANARY-folder"}},
        {"type": "write", "resource": "pay.transfers"},
    ]);
    let capabilities: Vec<Capability> = serde_json::from_value(request).unwrap();
    let request = RequestShown {
        id: exeat_types::ApprovalId::new("g-00").unwrap(),
        agent: exeat_types::AgentId::new("buyer").unwrap(),
        state: exeat_ledger::GrantStanding::Pending,
        words: capabilities.iter().map(Capability::words).collect(),
        digest: exeat_types::Digest::of(b""),
        asked: exeat_types::Timestamp::from_millis(1_800_000_000_000),
        expires: exeat_types::Timestamp::from_millis(1_800_000_000_000),
        seconds: 60,
        why: Some("CANARY-why".to_owned()),
        seal: None,
        by: None,
        user: None,
        grave: false,
        capabilities,
    };
    let notice = Notice::of_request(&request, &PublicOrigin::local(8089));
    assert_eq!(
        notice.text,
        "buyer asks to be allowed mail.* and 1 more for a time"
    );
    assert_eq!(notice.url, "http://localhost:8089/requests");
    assert!(!format!("{notice:?}").contains("CANARY"));
}
