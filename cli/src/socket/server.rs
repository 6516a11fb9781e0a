//! The gate's end of the socket: who may connect, one request each, lines back.

use std::{
    fs::{File, Permissions},
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::PermissionsExt as _,
    },
    sync::Arc,
    time::Duration,
};

use exeat_types::{Secret, limits};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answer::{Answer, Attachment, Failure, Handed, Lines},
    protocol::{Attach, Request},
    rights,
};
use crate::folder::DataFolder;

/// Most clients at one time.
const CLIENTS_MAX: usize = 256;
/// Lines that `tail` may be ahead of its reader.
const TAIL_LINES_MAX: usize = 1024;
/// How long to wait when the operating system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who answers, and whether clients have to wait.
pub(crate) struct Answering {
    /// Answers them.
    pub(crate) answer: Arc<dyn Answer>,
    /// True while the gate is being replaced: whoever comes waits for the one that will be there.
    pub(crate) held: watch::Receiver<bool>,
}

/// Binds the socket, replacing what a gate that is gone left behind. The caller holds the folder's lock.
///
/// # Errors
/// When the socket cannot be made or made private.
pub(crate) fn bind(folder: &DataFolder) -> io::Result<std::os::unix::net::UnixListener> {
    let path = folder.socket();
    match std::fs::remove_file(&path) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
        Ok(()) | Err(_) => {}
    }
    let listener =
        folder.with_short_path(&path, |short| std::os::unix::net::UnixListener::bind(short))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers clients until told to stop; conversations that are open then run in `tasks` to their end. While the door is
/// held, clients wait outside.
pub(crate) async fn serve(
    listener: UnixListener,
    mut answering: Answering,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = next(&listener, &mut answering.held) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket did not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!("too many clients on the admin socket");
            continue;
        };
        let (answer, stop) = (Arc::clone(&answering.answer), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = converse(stream, &*answer, &stop).await {
                tracing::debug!(%error, "a client of the admin socket went away");
            }
            drop(place);
        });
    }
}

/// The next client; while the door is held none comes in.
async fn next(listener: &UnixListener, held: &mut watch::Receiver<bool>) -> io::Result<UnixStream> {
    loop {
        let can_be_held = held.wait_for(|held| !held).await.is_ok();
        tokio::select! {
            accepted = listener.accept() => return accepted.map(|(stream, _)| stream),
            _ = held.changed(), if can_be_held => {}
        }
    }
}

/// Keeps a sandbox served whose client attached it to the gate before this one, as if it had attached it here.
///
/// # Errors
/// When the client breaks off.
pub(crate) async fn hold(
    client: OwnedFd,
    attachment: Attachment,
    stop: &CancellationToken,
) -> io::Result<()> {
    let client = std::os::unix::net::UnixStream::from(client);
    client.set_nonblocking(true)?;
    let mut conversation = Conversation(UnixStream::from_std(client)?);
    conversation.attached(attachment, stop).await?;
    conversation.line(&json!({ "done": true })).await
}

/// Answers the one request of a connection.
///
/// # Errors
/// When the client is not allowed here, breaks off, or sends nothing in time.
pub(crate) async fn converse(
    stream: UnixStream,
    answer: &dyn Answer,
    stop: &CancellationToken,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let ours = rustix::process::getuid().as_raw();
    // SECURITY: the folder is 0700 already; this holds even if somebody opened it up.
    if peer.uid() != ours && peer.uid() != 0 {
        tracing::warn!(uid = peer.uid(), "another user tried the admin socket");
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (line, descriptors) = timeout(limits::HEAD_TIMEOUT, rights::receive(&stream)).await??;
    let mut conversation = Conversation(stream);
    let outcome = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => {
            conversation
                .answer(request, descriptors, answer, stop)
                .await?
        }
        Err(problem) => Err(
            Failure::new(format!("the request cannot be read: {problem}"))
                .help("the gate and this program may be of different versions; restart the gate"),
        ),
    };
    let last = match outcome {
        Ok(()) => json!({ "done": true }),
        Err(failure) => json!({ "error": failure }),
    };
    conversation.line(&last).await
}

/// Dropping it closes this process's end and no more: another gate may go on with the client.
struct Conversation(UnixStream);

impl Conversation {
    async fn line(&mut self, value: &Value) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        timeout(limits::BODY_TIMEOUT, self.0.write_all(&line)).await?
    }

    async fn item(
        &mut self,
        item: Result<impl Serialize, Failure>,
    ) -> io::Result<Result<(), Failure>> {
        match item {
            Ok(item) => self.line(&json!({ "item": item })).await.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn items(
        &mut self,
        items: Result<Vec<impl Serialize>, Failure>,
    ) -> io::Result<Result<(), Failure>> {
        let items = match items {
            Ok(items) => items,
            Err(failure) => return Ok(Err(failure)),
        };
        for item in items {
            self.line(&json!({ "item": item })).await?;
        }
        Ok(Ok(()))
    }

    /// The outer error is the connection's, the inner one is for the client.
    async fn answer(
        &mut self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        answer: &dyn Answer,
        stop: &CancellationToken,
    ) -> io::Result<Result<(), Failure>> {
        match request {
            Request::Status {} => self.item(answer.status().await).await,
            Request::Attach(attach) => self.attach(attach, descriptors, answer, stop).await,
            Request::AgentList {} => self.items(answer.agent_list().await).await,
            Request::AgentPause { agent } => self.item(answer.agent_pause(agent).await).await,
            Request::AgentResume { agent } => self.item(answer.agent_resume(agent).await).await,
            Request::ApprovalList {} => self.items(answer.approval_list().await).await,
            Request::ApprovalShow { id } => self.item(answer.approval_show(id).await).await,
            Request::ApprovalAnswer(order) => self.item(answer.approval_answer(order).await).await,
            Request::CaInit {} => self.item(answer.ca_init().await).await,
            Request::CaRotate {} => self.item(answer.ca_rotate().await).await,
            Request::Connect { credential, scopes } => {
                let (sender, lines) = mpsc::channel(TAIL_LINES_MAX);
                let steps = answer.connect(credential, scopes, Lines(sender));
                self.stream(steps, lines, stop).await
            }
            Request::ConsoleDevices {} => self.items(answer.console_devices().await).await,
            Request::ConsoleEnroll { user } => self.item(answer.console_enroll(user).await).await,
            Request::Disconnect(order) => self.item(answer.disconnect(order).await).await,
            Request::ConnectionList(query) => self.items(answer.connections(query).await).await,
            Request::PolicyShow {} => self.item(answer.policy_show().await).await,
            Request::CapabilityAsk { agent, order } => {
                self.item(answer.request_ask(agent, order).await).await
            }
            Request::CapabilityList {} => self.items(answer.request_list().await).await,
            Request::GrantAnswer(order) => self.item(answer.grant_answer(order).await).await,
            Request::PolicySources {} => self.item(answer.policy_sources().await).await,
            Request::Past(filter) => {
                let (sender, lines) = mpsc::channel(TAIL_LINES_MAX);
                let past = answer.past(filter, Lines(sender));
                self.stream(past, lines, stop).await
            }
            Request::ReceiptExport(filter) => match one(descriptors) {
                Ok(into) => {
                    self.item(answer.receipt_export(filter, into.into()).await)
                        .await
                }
                Err(failure) => Ok(Err(failure)),
            },
            Request::ReceiptKey {} => self.item(answer.receipt_key().await).await,
            Request::ReceiptList(filter) => self.items(answer.receipt_list(filter).await).await,
            Request::ReceiptShow { call } => self.item(answer.receipt_show(call).await).await,
            Request::SecretList {} => self.items(answer.secret_list().await).await,
            Request::SecretRemove { name } => self.item(answer.secret_remove(name).await).await,
            Request::SecretSet { name } => match handed_secret(descriptors).await {
                Ok(secret) => self.item(answer.secret_set(name, secret).await).await,
                Err(failure) => Ok(Err(failure)),
            },
            Request::Upgrade { program } => self.item(answer.upgrade(program).await).await,
            Request::BudgetList {} => self.items(answer.budgets().await).await,
            Request::BudgetSet { budget, limit } => {
                self.item(answer.budget_set(budget, limit).await).await
            }
            Request::SignerList {} => self.items(answer.signers().await).await,
            Request::SignerCreate { name, algorithm } => {
                self.item(answer.signer_create(name, algorithm).await).await
            }
            Request::SelfTest(test) => self.item(answer.self_test(test).await).await,
            Request::Tail { agent } => {
                let (sender, lines) = mpsc::channel(TAIL_LINES_MAX);
                let receipts = answer.tail(agent, Lines(sender));
                self.stream(receipts, lines, stop).await
            }
            Request::TokenCreate(order) => self.item(answer.token_create(order).await).await,
        }
    }

    /// Begins to serve a sandbox.
    async fn attach(
        &mut self,
        attach: Attach,
        descriptors: Vec<OwnedFd>,
        answer: &dyn Answer,
        stop: &CancellationToken,
    ) -> io::Result<Result<(), Failure>> {
        let client = self.0.as_fd().try_clone_to_owned()?;
        let Some(handed) = Handed::sort(&attach, client, descriptors) else {
            let problem = "the sandbox handed over the wrong number of listeners";
            return Ok(Err(Failure::new(problem)));
        };
        let (attached, attachment) = match answer.attach(attach, handed).await {
            Ok(both) => both,
            Err(failure) => return Ok(Err(failure)),
        };
        self.line(&json!({ "item": attached })).await?;
        self.attached(attachment, stop).await.map(Ok)
    }

    /// Serves a sandbox until its client goes, and says what came through it.
    async fn attached(
        &mut self,
        attachment: Attachment,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        tokio::select! {
            () = closed(&mut self.0) => {}
            () = stop.cancelled() => {}
        }
        // The gate that serves it from here on has the client too, and says it then.
        let handed_over = || io::Error::other("another gate serves this sandbox");
        let summary = attachment.summary().await.ok_or_else(handed_over)?;
        drop(attachment);
        self.line(&json!({ "item": summary })).await
    }

    /// Sends lines as they come until their source ends, or the client goes, which ends the source.
    async fn stream(
        &mut self,
        source: impl Future<Output = Result<(), Failure>>,
        mut lines: mpsc::Receiver<Value>,
        stop: &CancellationToken,
    ) -> io::Result<Result<(), Failure>> {
        let mut source = std::pin::pin!(source);
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(line) => self.line(&json!({ "item": line })).await?,
                    None => return Ok(source.await),
                },
                ended = &mut source => {
                    while let Ok(line) = lines.try_recv() {
                        self.line(&json!({ "item": line })).await?;
                    }
                    return Ok(ended);
                }
                () = closed(&mut self.0) => return Ok(Ok(())),
                () = stop.cancelled() => return Ok(Ok(())),
            }
        }
    }
}

/// Waits until the client closes its end; what it still sends is dropped.
async fn closed(reader: &mut UnixStream) {
    let mut dropped = [0_u8; 256];
    while let Ok(1..) = reader.read(&mut dropped).await {}
}

fn one(descriptors: Vec<OwnedFd>) -> Result<OwnedFd, Failure> {
    let wrong = |_| Failure::new("this request needs exactly one descriptor");
    let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).map_err(wrong)?;
    Ok(descriptor)
}

/// The secret in the one pipe that was handed over.
async fn handed_secret(descriptors: Vec<OwnedFd>) -> Result<Secret, Failure> {
    read_secret(one(descriptors)?.into()).await
}

/// Reads a secret from a pipe, without the line end that typing and `echo` leave behind.
async fn read_secret(pipe: File) -> Result<Secret, Failure> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::with_capacity(limits::SECRET_BYTES_MAX.saturating_add(2));
        let most = u64::try_from(limits::SECRET_BYTES_MAX)
            .unwrap_or(u64::MAX)
            .saturating_add(2);
        let read = pipe.take(most).read_to_end(&mut bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        (Secret::new(bytes), read)
    });
    let failed = |problem: &dyn std::fmt::Display| {
        Failure::new(format!("the secret could not be read: {problem}"))
    };
    let read = timeout(limits::HEAD_TIMEOUT, read)
        .await
        .map_err(|late| failed(&late))?;
    let (secret, outcome) = read.map_err(|panicked| failed(&panicked))?;
    outcome.map_err(|problem| failed(&problem))?;
    Ok(secret)
}
