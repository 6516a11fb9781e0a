//! Stage 2: who is asking? A listener may stand for an agent; otherwise a client certificate or an agent token says so.
//! Reaching the port is never enough, and identities that disagree are refused.

use exeat_pipeline::{Agent, Gate, Refusal};
use exeat_types::{AccountId, AgentId, Reason};
use rustls::pki_types::CertificateDer;
use x509_parser::{oid_registry::OID_X509_COMMON_NAME, parse_x509_certificate};

use crate::Door;

/// The identity that the connection itself carries: the listener's, the client certificate's, or none.
///
/// # Errors
/// `agent-conflict` when the two disagree, `agent-unknown` when a certificate names no agent.
pub(crate) fn by_connection(
    door: &Door,
    certificate: Option<&CertificateDer<'_>>,
) -> Result<Option<Agent>, Refusal> {
    let by_listener = door.agent.clone();
    let by_certificate = match certificate {
        Some(der) => Some(certificate_agent(der).ok_or_else(unknown)?),
        None => None,
    };
    Ok(agree(by_listener, by_certificate)?.map(|id| agent(door, id)))
}

/// Adds what Proxy-Authorization says.
///
/// # Errors
/// `agent-unknown` when the token is not good, `agent-conflict` when it names another agent than the connection.
pub(crate) fn with_token(
    gate: &Gate,
    door: &Door,
    known: Option<Agent>,
    presented: &[&[u8]],
) -> Result<Option<Agent>, Refusal> {
    let value = match presented {
        [] => return Ok(known),
        [one] => *one,
        [_, _, ..] => {
            return Err(Refusal::bare(
                Reason::MalformedRequest,
                "Proxy-Authorization stands more than once",
            ));
        }
    };
    let by_token = gate.agent_of_token(value, &door.name).ok_or_else(unknown)?;
    Ok(agree(known.map(|agent| agent.id), Some(by_token))?.map(|id| agent(door, id)))
}

/// The refusal for a client that nobody knows.
pub(crate) fn unknown() -> Refusal {
    Refusal::bare(
        Reason::AgentUnknown,
        "no agent is known for this connection",
    )
}

/// Counts a refusal that came before a call existed, in the ledger and in the metrics.
pub(crate) fn record(gate: &Gate, door: &Door, agent: Option<&AgentId>, reason: Reason) {
    gate.count_refusal(reason);
    if let Some(tally) = &door.tally {
        tally.refused();
    }
    gate.record_connection(&door.name, agent.or(door.agent.as_ref()), reason);
}

fn agent(door: &Door, id: AgentId) -> Agent {
    Agent {
        account: AccountId::local(),
        id,
        seal: door.seal,
        regime: door.regime,
        tally: door.tally.clone(),
    }
}

fn agree(one: Option<AgentId>, other: Option<AgentId>) -> Result<Option<AgentId>, Refusal> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            tracing::warn!(%one, %other, "two identities of one connection disagree");
            Err(Refusal::bare(
                Reason::AgentConflict,
                "the connection and the token name different agents",
            ))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// The agent that a verified client certificate names: its common name.
fn certificate_agent(der: &CertificateDer<'_>) -> Option<AgentId> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let mut names = certificate.subject().iter_by_oid(&OID_X509_COMMON_NAME);
    let name = names.next()?.as_str().ok()?;
    if names.next().is_some() {
        return None;
    }
    AgentId::new(name).ok()
}
