//! The socket's two ends against each other, with a gate that remembers.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use exeat_types::{AgentId, ApprovalId, CallId, CredentialId, Digest, Secret, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer::{Answer, Attachment, Failure, Handed, Lines, Served},
    approvals::{AgentEntry, ApprovalOrder, ApprovalShown},
    client::Client,
    protocol::{
        Attach, Attached, BudgetEntry, ConnectionEntry, ConnectionQuery, Device, DisconnectOrder,
        Enrolling, Exported, Hold, PolicyShown, PolicyTexts, ReceiptFilter, Request, SecretEntry,
        SelfTest, SignerEntry, Status, Summary, TokenMade, TokenOrder, Upgraded,
    },
    server,
};
use crate::folder::DataFolder;

/// Stands for the gate: keeps secrets in memory, counts sandboxes.
#[derive(Default)]
struct Remembering {
    secrets: Mutex<BTreeMap<String, Secret>>,
    left: Option<mpsc::Sender<()>>,
}

struct SaysWhenDropped(Option<mpsc::Sender<()>>);

#[async_trait::async_trait]
impl Served for SaysWhenDropped {
    async fn summary(&self) -> Option<Summary> {
        Some(Summary {
            hosts: 1,
            requests: 2,
            refused: 0,
            open: 0,
            spent: BTreeMap::new(),
        })
    }
}

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        if let Some(left) = &self.0 {
            left.try_send(()).unwrap();
        }
    }
}

#[async_trait::async_trait]
impl Answer for Remembering {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status {
            version: "0".to_owned(),
            pid: std::process::id(),
            since: Timestamp::from_millis(0),
            policy: Digest::of(b""),
            listeners: Vec::new(),
            metrics: None,
            console: None,
            console_port: None,
            sandboxes: 0,
        })
    }

    async fn attach(&self, _: Attach, handed: Handed) -> Result<(Attached, Attachment), Failure> {
        // The descriptor of the explicit listener must be the one that was sent.
        let mut file = File::from(handed.explicit);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        let attached = Attached {
            root_pem: text,
            bundle_pem: String::new(),
            variables: BTreeMap::new(),
            observed_until: None,
            signing: Vec::new(),
        };
        Ok((attached, Box::new(SaysWhenDropped(self.left.clone()))))
    }

    async fn ca_init(&self) -> Result<String, Failure> {
        Ok("root".to_owned())
    }

    async fn ca_rotate(&self) -> Result<String, Failure> {
        Err(Failure::new("no root").help("make one"))
    }

    async fn connect(
        &self,
        credential: CredentialId,
        _: Vec<String>,
        lines: Lines,
    ) -> Result<(), Failure> {
        let step = json!({ "step": "visit", "url": "https://as.test/", "scopes": [] });
        lines
            .send(step)
            .await
            .map_err(|gone| Failure::new(gone.to_string()))?;
        Err(Failure::new(format!("nobody granted `{credential}`")))
    }

    async fn disconnect(&self, order: DisconnectOrder) -> Result<ConnectionEntry, Failure> {
        let credential = order.credential;
        Err(Failure::new(format!("nobody granted `{credential}`")))
    }

    async fn connections(&self, _: ConnectionQuery) -> Result<Vec<ConnectionEntry>, Failure> {
        Ok(Vec::new())
    }

    async fn agent_list(&self) -> Result<Vec<AgentEntry>, Failure> {
        Ok(Vec::new())
    }

    async fn agent_pause(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        Err(Failure::new(format!("there is no agent `{agent}`")))
    }

    async fn agent_resume(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        Err(Failure::new(format!("there is no agent `{agent}`")))
    }

    async fn approval_list(&self) -> Result<Vec<ApprovalShown>, Failure> {
        Ok(Vec::new())
    }

    async fn approval_show(&self, id: ApprovalId) -> Result<ApprovalShown, Failure> {
        Err(Failure::new(format!("there is no approval `{id}`")))
    }

    async fn approval_answer(&self, order: ApprovalOrder) -> Result<ApprovalShown, Failure> {
        Err(Failure::new(format!("there is no approval `{}`", order.id)))
    }

    async fn policy_show(&self) -> Result<PolicyShown, Failure> {
        Err(anyhow::anyhow!("inner").context("outer").into())
    }

    async fn request_ask(&self, _: AgentId, _: exeat_pipeline::Order) -> Result<Value, Failure> {
        Err(Failure::new("no requests"))
    }

    async fn request_list(&self) -> Result<Vec<Value>, Failure> {
        Ok(Vec::new())
    }

    async fn grant_answer(&self, _: super::GrantOrder) -> Result<Value, Failure> {
        Err(Failure::new("no grants"))
    }

    async fn policy_sources(&self) -> Result<PolicyTexts, Failure> {
        Err(Failure::new("no policy"))
    }

    async fn past(&self, _: ReceiptFilter, _: Lines) -> Result<(), Failure> {
        Ok(())
    }

    async fn receipt_export(&self, _: ReceiptFilter, mut into: File) -> Result<Exported, Failure> {
        writeln!(into, "{{}}").unwrap();
        Ok(Exported { records: 1 })
    }

    async fn receipt_key(&self) -> Result<String, Failure> {
        Ok("key".to_owned())
    }

    async fn receipt_list(&self, filter: ReceiptFilter) -> Result<Vec<Value>, Failure> {
        Ok((0..filter.limit.unwrap_or(0))
            .map(|n| json!({ "n": n }))
            .collect())
    }

    async fn receipt_show(&self, call: CallId) -> Result<Value, Failure> {
        Ok(json!({ "call": call }))
    }

    async fn secret_list(&self) -> Result<Vec<SecretEntry>, Failure> {
        let secrets = self.secrets.lock().unwrap();
        let entry = |name: &String| SecretEntry {
            name: name.clone(),
            version: 1,
            created: Timestamp::from_millis(0),
        };
        Ok(secrets.keys().map(entry).collect())
    }

    async fn secret_remove(&self, name: String) -> Result<SecretEntry, Failure> {
        Err(Failure::new(format!("unknown secret `{name}`")))
    }

    async fn secret_set(&self, name: String, secret: Secret) -> Result<SecretEntry, Failure> {
        self.secrets.lock().unwrap().insert(name.clone(), secret);
        Ok(SecretEntry {
            name,
            version: 1,
            created: Timestamp::from_millis(0),
        })
    }

    async fn console_devices(&self) -> Result<Vec<Device>, Failure> {
        Err(Failure::new("not here"))
    }

    async fn console_enroll(&self, _: String) -> Result<Enrolling, Failure> {
        Err(Failure::new("not here"))
    }

    async fn budgets(&self) -> Result<Vec<BudgetEntry>, Failure> {
        Ok(Vec::new())
    }

    async fn budget_set(&self, _: String, _: Option<String>) -> Result<BudgetEntry, Failure> {
        Err(Failure::new("no budgets here"))
    }

    async fn signers(&self) -> Result<Vec<SignerEntry>, Failure> {
        Err(Failure::new("not here"))
    }

    async fn signer_create(&self, _: String, _: String) -> Result<SignerEntry, Failure> {
        Err(Failure::new("not here"))
    }

    async fn self_test(&self, _: SelfTest) -> Result<(), Failure> {
        Ok(())
    }

    async fn tail(&self, agent: Option<AgentId>, lines: Lines) -> Result<(), Failure> {
        for n in 0.. {
            if lines.send(json!({ "n": n, "agent": agent })).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn token_create(&self, _: TokenOrder) -> Result<TokenMade, Failure> {
        Err(Failure::new("no"))
    }

    async fn upgrade(&self, _: PathBuf) -> Result<Upgraded, Failure> {
        Err(Failure::new("no"))
    }
}

struct Running {
    folder: DataFolder,
    gate: Arc<Remembering>,
    left: mpsc::Receiver<()>,
    stop: CancellationToken,
    door: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
    _place: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&place.path().join("data")).unwrap();
        let (sender, left) = mpsc::channel(1);
        let gate = Arc::new(Remembering {
            secrets: Mutex::default(),
            left: Some(sender),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let bound = server::bind(&folder).unwrap();
        let listener =
            runtime.block_on(async { tokio::net::UnixListener::from_std(bound).unwrap() });
        let (door, held) = watch::channel(false);
        let answering = server::Answering {
            answer: Arc::clone(&gate) as Arc<dyn Answer>,
            held,
        };
        let (stopping, tasks) = (stop.clone(), TaskTracker::new());
        runtime
            .handle()
            .spawn(async move { server::serve(listener, answering, &tasks, &stopping).await });
        Self {
            folder,
            gate,
            left,
            stop,
            door,
            runtime: Some(runtime),
            _place: place,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.folder).unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[test]
fn answers_errors_and_their_help_come_across() {
    let running = Running::start();
    let status: Status = running.client().one(&Request::Status {}, &[]).unwrap();
    assert_eq!(status.pid, std::process::id());
    let filter = ReceiptFilter {
        limit: Some(3),
        ..ReceiptFilter::default()
    };
    assert_eq!(
        running
            .client()
            .all::<Value>(&Request::ReceiptList(filter))
            .unwrap()
            .len(),
        3
    );
    let failed = running
        .client()
        .one::<String>(&Request::CaRotate {}, &[])
        .unwrap_err();
    let failure: &Failure = failed.downcast_ref().unwrap();
    assert_eq!(
        (failure.message.as_str(), failure.help.as_deref()),
        ("no root", Some("make one"))
    );
    let failed = running
        .client()
        .one::<PolicyShown>(&Request::PolicyShow {}, &[])
        .unwrap_err();
    assert_eq!(failed.to_string(), "outer: inner");
}

#[test]
fn a_secret_comes_through_a_pipe_without_its_line_end() {
    let running = Running::start();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"CANARY-socket-1\n").unwrap();
    drop(writer);
    let request = Request::SecretSet {
        name: "github".to_owned(),
    };
    let entry: SecretEntry = running.client().one(&request, &[reader.as_fd()]).unwrap();
    assert_eq!(entry.name, "github");
    assert!(running.gate.secrets.lock().unwrap()["github"].matches(b"CANARY-socket-1"));
    let refused = running
        .client()
        .one::<SecretEntry>(&request, &[])
        .unwrap_err();
    assert!(
        refused.to_string().contains("exactly one descriptor"),
        "{refused}"
    );
}

#[test]
fn a_sandbox_is_served_until_its_client_goes() {
    let mut running = Running::start();
    let mut listener = tempfile::tempfile().unwrap();
    listener.write_all(b"explicit").unwrap();
    let other = tempfile::tempfile().unwrap();
    let attach = |http| Attach {
        agent: AgentId::new("claude").unwrap(),
        hold: Hold::Declared,
        policy: "/somewhere/policy.toml".into(),
        http,
        https: 1,
    };
    let fds = [
        listener.as_fd(),
        other.as_fd(),
        other.as_fd(),
        other.as_fd(),
        other.as_fd(),
    ];
    let wrong = running
        .client()
        .one::<Attached>(&Request::Attach(attach(2)), &fds)
        .unwrap_err();
    assert!(wrong.to_string().contains("wrong number"), "{wrong}");
    let mut replies = running
        .client()
        .ask(&Request::Attach(attach(1)), &fds)
        .unwrap();
    let attached: Attached = serde_json::from_value(replies.next().unwrap().unwrap()).unwrap();
    assert_eq!(attached.root_pem, "explicit");
    assert!(running.left.try_recv().is_err());
    drop(replies);
    assert_eq!(running.left.blocking_recv(), Some(()));
    let mut replies = running
        .client()
        .ask(&Request::Attach(attach(1)), &fds)
        .unwrap();
    assert!(replies.next().unwrap().is_ok());
    let last: Option<Summary> = replies.last_words().unwrap();
    assert_eq!(last.unwrap().requests, 2);
    assert_eq!(running.left.blocking_recv(), Some(()));
}

#[test]
fn a_tail_ends_when_its_reader_goes() {
    let running = Running::start();
    let mut replies = running
        .client()
        .ask(&Request::Tail { agent: None }, &[])
        .unwrap();
    for n in 0..3000 {
        assert_eq!(
            replies.next().unwrap().unwrap(),
            json!({ "n": n, "agent": null })
        );
    }
    drop(replies);
    assert!(
        running
            .client()
            .one::<Status>(&Request::Status {}, &[])
            .is_ok()
    );
}

#[test]
fn an_export_is_written_to_the_clients_own_file() {
    let running = Running::start();
    let mut file = tempfile::tempfile().unwrap();
    let request = Request::ReceiptExport(ReceiptFilter::default());
    let exported: Exported = running.client().one(&request, &[file.as_fd()]).unwrap();
    assert_eq!(exported.records, 1);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "{}\n");
}

#[test]
fn what_is_not_a_request_is_refused_with_a_reason() {
    let running = Running::start();
    for line in [
        "\n",
        "{}\n",
        "{\"do\":\"status\",\"more\":1}\n",
        "{\"do\":\"unlock\"}\n",
    ] {
        let mut stream = UnixStream::connect(running.folder.socket()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(
            reply.starts_with("{\"error\":{\"message\":\"the request cannot be read"),
            "{line}: {reply}"
        );
    }
}

#[test]
fn without_a_gate_there_is_no_client_and_one_can_run_within() {
    let place = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&place.path().join("data")).unwrap();
    assert!(Client::connect(&folder).unwrap().is_none());
    let locks = [
        folder.lock(Duration::ZERO).unwrap(),
        folder.lock_for_starting().unwrap(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = Client::within(runtime, Arc::new(Remembering::default()), locks).unwrap();
    assert!(
        client
            .all::<SecretEntry>(&Request::SecretList {})
            .unwrap()
            .is_empty()
    );
    folder.lock(Duration::ZERO).unwrap();
}

#[test]
fn clients_wait_while_the_door_is_held_and_are_answered_afterwards() {
    let running = Running::start();
    let status = |client: Client| client.one::<Status>(&Request::Status {}, &[]);
    status(running.client()).unwrap();
    running.door.send_replace(true);
    // It connects, as the socket is there, and is heard once the door opens.
    let waiting = running.client();
    running.door.send_replace(false);
    assert_eq!(status(waiting).unwrap().pid, std::process::id());
}
