//! Approvals and agents as commands ask for them. What counts as an answer is the pipeline's to say.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use exeat_pipeline::{Answer, Approvals, Gate, NotAnswered, Pause, Pending, Shown};
use exeat_types::{AgentId, ApprovalId};

use super::Desk;
use crate::socket::{
    AgentEntry, ApprovalAnswer, ApprovalOrder, ApprovalShown, Failure, RequestShown,
};

/// Who answers on the command line: whoever may use the gate's socket.
const LOCAL: &str = "local";

impl Desk {
    fn approvals(&self) -> Result<&Arc<Approvals>, Failure> {
        Ok(self.running()?.gate.approvals())
    }

    pub(super) fn listed(&self) -> Result<Vec<ApprovalShown>, Failure> {
        let desk = self.approvals()?;
        desk.list()
            .iter()
            .map(|pending| shown(desk, pending, None))
            .collect()
    }

    pub(super) fn question(&self, id: &ApprovalId) -> Result<ApprovalShown, Failure> {
        let desk = self.approvals()?;
        let pending = desk
            .show(id)
            .ok_or_else(|| failed(desk, id, &NotAnswered::Unknown(id.clone())))?;
        shown(desk, &pending, pending.request.as_deref())
    }

    pub(super) async fn answered(&self, order: ApprovalOrder) -> Result<ApprovalShown, Failure> {
        let _turn = self.turn().await?;
        let desk = self.approvals()?;
        let ApprovalOrder { id, answer } = order;
        let answered = match answer {
            ApprovalAnswer::Grant { extent } => {
                if let (Some(why), Some(_)) = (self.not_here(), desk.show(&id)) {
                    return Err(needs_console(desk, &id, Failure::new(why)));
                }
                let answer = Answer {
                    user: LOCAL.to_owned(),
                    extent,
                    signed: None,
                };
                desk.grant(&id, answer).await
            }
            ApprovalAnswer::Deny { pause } => {
                let pause = if pause { Pause::Agent } else { Pause::No };
                desk.deny(&id, LOCAL, pause).await
            }
            ApprovalAnswer::Revoke {} => desk.revoke(&id, LOCAL).await,
        };
        let pending = answered.map_err(|problem| failed(desk, &id, &problem))?;
        shown(desk, &pending, None)
    }

    pub(super) fn agents(&self) -> Result<Vec<AgentEntry>, Failure> {
        let gate = &self.running()?.gate;
        let mut agents: Vec<AgentId> = gate
            .agents()
            .list()
            .into_iter()
            .map(|it| it.agent)
            .collect();
        if let Some(settings) = self.state.settings() {
            agents.extend(settings.agents.keys().cloned());
        }
        agents.sort();
        agents.dedup();
        Ok(agents.into_iter().map(|agent| entry(gate, agent)).collect())
    }

    pub(super) async fn paused(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        let _turn = self.turn().await?;
        let gate = &self.running()?.gate;
        let known = self.agents()?.iter().any(|entry| entry.agent == agent);
        if !known {
            return Err(Failure::new(format!("there is no agent `{agent}`"))
                .help("`exeat agent list` shows them"));
        }
        gate.agents().pause(&agent, LOCAL).await.map_err(not_kept)?;
        Ok(entry(gate, agent))
    }

    pub(super) async fn resumed(&self, agent: AgentId) -> Result<AgentEntry, Failure> {
        let _turn = self.turn().await?;
        let gate = &self.running()?.gate;
        if !gate.agents().is_paused(&agent) {
            return Err(Failure::new(format!("`{agent}` is not paused")));
        }
        gate.agents()
            .resume(&agent, LOCAL)
            .await
            .map_err(not_kept)?;
        Ok(entry(gate, agent))
    }
}

fn not_kept(problem: NotAnswered) -> Failure {
    Failure::from(anyhow::Error::new(problem))
}

fn entry(gate: &Gate, agent: AgentId) -> AgentEntry {
    let known = gate
        .agents()
        .list()
        .into_iter()
        .find(|it| it.agent == agent);
    let paused = known.and_then(|it| it.paused);
    AgentEntry {
        agent,
        paused: paused.as_ref().map(|paused| paused.at),
        by: paused.map(|paused| paused.by),
    }
}

fn shown(
    desk: &Approvals,
    pending: &Pending,
    request: Option<&Shown>,
) -> Result<ApprovalShown, Failure> {
    Ok(ApprovalShown {
        approval: serde_json::to_value(pending).map_err(anyhow::Error::new)?,
        url: desk.url(&pending.id),
        request: request.map(request_shown),
    })
}

fn request_shown(request: &Shown) -> RequestShown {
    let bytes = request.body.as_deref();
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    RequestShown {
        method: request.method.clone(),
        origin: request.origin.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        credentials: request.credentials.clone(),
        body_bytes: bytes.map_or(0, <[u8]>::len),
        body: text.map(str::to_owned),
        body_base64: match (bytes, text) {
            (Some(bytes), None) => Some(STANDARD.encode(bytes)),
            _ => None,
        },
    }
}

fn failed(desk: &Approvals, id: &ApprovalId, problem: &NotAnswered) -> Failure {
    let failure = Failure::new(problem.to_string());
    match problem {
        NotAnswered::NeedsPasskey | NotAnswered::Unsealed => needs_console(desk, id, failure),
        NotAnswered::Unknown(_) => failure.help("`exeat approval list` shows them"),
        _ => failure,
    }
}

fn needs_console(desk: &Approvals, id: &ApprovalId, failure: Failure) -> Failure {
    match desk.url(id) {
        Some(url) => failure.help(format!("approve it in the console: {url}")),
        None => failure.help("declare `[console]` and enrol a passkey: `exeat console enroll`"),
    }
}
