//! Questions and their answers.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_ledger::{Assertion, Extent};
use exeat_pipeline::{Answer, NotAnswered, Pause, Pending};
use exeat_types::ApprovalId;
use serde::Deserialize;

use super::{
    read::{Asked, At, Nothing, Sent, limit, plain},
    words::{
        ApprovalDetail, ApprovalPage, ApprovalShown, ApprovalState, ChallengeShown, DenySent,
        Empty, ExtentWanted, GrantSent, RequestShown,
    },
};
use crate::{
    problem::{Problem, Told},
    session::Session,
    site::Site,
};

/// Which questions.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those in this state.
    #[param(required = false)]
    state: Option<ApprovalState>,
    /// Only those behind this one: `next` of the page before.
    #[param(required = false, value_type = String, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    after: Option<String>,
    /// How many.
    #[param(required = false, value_type = u32, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

/// Questions of the last day: open ones first, newest first.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", params(Which),
    responses((status = 200, description = "a page of questions", body = ApprovalPage)))]
pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Asked(which): Asked<Which>,
) -> Result<Json<ApprovalPage>, Told> {
    let most = limit(which.limit.as_deref())?;
    let after = plain::<ApprovalId>(which.after.as_deref(), "after")?;
    let all = site.gate.approvals().list();
    let is_wanted = |one: &&Arc<Pending>| {
        let state = ApprovalState::of(one.progress);
        which.state.is_none_or(|wanted| wanted == state)
    };
    let wanted = all.iter();
    let mut rest: Vec<&Arc<Pending>> = match &after {
        Some(last) => wanted
            .skip_while(|one| one.id != *last)
            .skip(1)
            .filter(is_wanted)
            .collect(),
        None => wanted.filter(is_wanted).collect(),
    };
    let more = rest.len() > most;
    rest.truncate(most);
    let last = rest.last().map(|one| one.id.to_string());
    Ok(Json(ApprovalPage {
        items: rest.into_iter().map(|one| shown(&site, one)).collect(),
        next: last.filter(|_| more),
    }))
}

/// One question, with what will be sent.
#[utoipa::path(get, path = "/api/v1/approvals/{id}", tag = "approvals",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")),
    responses((status = 200, description = "the question", body = ApprovalDetail)))]
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    At(id): At<ApprovalId>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<ApprovalDetail>, Told> {
    let pending = known(&site, &id)?;
    Ok(Json(ApprovalDetail {
        request: pending.request.as_deref().map(RequestShown::from),
        approval: shown(&site, &pending),
    }))
}

/// What a passkey has to sign to say yes; good for five minutes and one answer.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/challenge", tag = "approvals",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = ExtentWanted,
    responses((status = 200, description = "what to sign", body = ChallengeShown)))]
pub(super) async fn challenge(
    State(site): State<Arc<Site>>,
    At(id): At<ApprovalId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(wanted): Sent<ExtentWanted>,
) -> Result<Json<ChallengeShown>, Told> {
    let pending = known(&site, &id)?;
    let extent = extent(&wanted.extent)?;
    let made = site.gate.approvals().challenge(&pending.id, extent).await;
    let made = made.map_err(|why| refused(&why))?;
    let digest = made.digest();
    Ok(Json(ChallengeShown {
        text: String::from_utf8_lossy(&made.to_bytes()).into_owned(),
        challenge: URL_SAFE_NO_PAD.encode(digest.as_bytes()),
        rp_id: site.origin.rp_id().to_owned(),
        user_verification: "required".to_owned(),
    }))
}

/// A yes that a passkey signed.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/grant", tag = "approvals",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = GrantSent,
    responses((status = 200, description = "the question as it stands now", body = ApprovalShown)))]
pub(super) async fn grant(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<ApprovalId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<GrantSent>,
) -> Result<Json<ApprovalShown>, Told> {
    let pending = known(&site, &id)?;
    let signed = sent.assertion.0;
    let answer = Answer {
        user: session.user.clone(),
        extent: extent(&sent.extent)?,
        signed: Some(Assertion {
            authenticator_data: signed.authenticator_data,
            client_data: signed.client_data,
            key: signed.key,
            signature: signed.signature,
        }),
    };
    let granted = site.gate.approvals().grant(&pending.id, answer).await;
    let granted = granted.map_err(|why| refused(&why))?;
    site.gate.presence().touch(site.now());
    Ok(Json(shown(&site, &granted)))
}

/// A no. It needs no signature.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/deny", tag = "approvals",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = DenySent,
    responses((status = 200, description = "the question as it stands now", body = ApprovalShown)))]
pub(super) async fn deny(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<ApprovalId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<DenySent>,
) -> Result<Json<ApprovalShown>, Told> {
    let pending = known(&site, &id)?;
    let pause = if sent.pause_agent {
        Pause::Agent
    } else {
        Pause::No
    };
    let approvals = site.gate.approvals();
    let denied = approvals.deny(&pending.id, &session.user, pause).await;
    let denied = denied.map_err(|why| refused(&why))?;
    Ok(Json(shown(&site, &denied)))
}

/// Takes back what is left of a grant.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/revoke", tag = "approvals",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = Empty,
    responses((status = 200, description = "the question as it stands now", body = ApprovalShown)))]
pub(super) async fn revoke(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<ApprovalId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(Empty {}): Sent<Empty>,
) -> Result<Json<ApprovalShown>, Told> {
    let pending = known(&site, &id)?;
    let approvals = site.gate.approvals();
    let revoked = approvals.revoke(&pending.id, &session.user).await;
    let revoked = revoked.map_err(|why| refused(&why))?;
    Ok(Json(shown(&site, &revoked)))
}

fn known(site: &Site, id: &ApprovalId) -> Result<Arc<Pending>, Told> {
    let unknown = || {
        let problem = Problem::not_found(format!("there is no approval `{id}`"));
        Told(problem.help("questions are shown for a day; receipts stay"))
    };
    site.gate.approvals().show(id).ok_or_else(unknown)
}

pub(super) fn shown(site: &Site, pending: &Pending) -> ApprovalShown {
    let url = site.origin.url(&format!("/approvals/{}", pending.id));
    ApprovalShown::of(pending, url)
}

fn extent(text: &str) -> Result<Extent, Told> {
    let extent = plain::<Extent>(Some(text), "extent")?;
    extent.ok_or_else(|| Told(Problem::bad("`extent` is missing")))
}

fn refused(why: &NotAnswered) -> Told {
    let text = why.to_string();
    Told(match why {
        NotAnswered::Unknown(_) => Problem::not_found(text),
        NotAnswered::Closed | NotAnswered::SamePerson => Problem::conflict(text),
        NotAnswered::TooFar(_) => Problem::bad(text),
        NotAnswered::NeedsPasskey | NotAnswered::Unsealed | NotAnswered::NotSigned(_) => {
            Problem::forbidden(text)
        }
        NotAnswered::NotKept => Problem::failed(text),
    })
}
