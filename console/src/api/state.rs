//! The session, and how the gate stands: health, budgets, credentials.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use exeat_types::CredentialId;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    read::{Asked, At, Nothing, Object, Sent},
    words::{ConfirmedSent, DeedShown, DeedWanted, Empty},
};
use crate::{
    Forget,
    pages::{budgets, credentials},
    problem::{Problem, Told},
    session::Session,
    sign_in::{asked, confirmed},
    site::Site,
};

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionWords {
    /// Whose passkey it was.
    user: String,
    /// When the session began.
    #[schema(format = DateTime)]
    since: String,
    /// What requests that change something carry in `exeat-csrf`.
    csrf: String,
}

/// The session that this request belongs to.
#[utoipa::path(get, path = "/api/v1/session", tag = "session",
    responses((status = 200, description = "the session", body = SessionWords)))]
pub(super) async fn session(
    Extension(session): Extension<Arc<Session>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<SessionWords> {
    Json(SessionWords {
        user: session.user.clone(),
        since: session.since.to_string(),
        csrf: session.csrf.clone(),
    })
}

/// What a passkey has to sign to confirm what loosens something; good for five minutes and that deed.
#[utoipa::path(post, path = "/api/v1/confirmations", tag = "session", request_body = DeedWanted,
    responses((status = 200, description = "what to sign", body = DeedShown)))]
pub(super) async fn confirm(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(wanted): Sent<DeedWanted>,
) -> Result<Json<DeedShown>, Told> {
    let (ceremony, public_key) = asked(&site, &session, wanted.deed)?;
    Ok(Json(DeedShown {
        ceremony,
        public_key,
    }))
}

/// How the gate stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// The version of this program.
    version: String,
    /// The digest of the policy in force.
    policy: String,
    /// Tools that are declared.
    tools: usize,
    /// Rules in force.
    rules: usize,
    /// The number of the last durable record.
    records: u64,
    /// The last signed checkpoint of the ledger.
    checkpoint: Option<String>,
    /// The public key that verifies receipts.
    ledger_key: String,
    /// Questions and capability requests that wait for a human.
    waiting: usize,
    /// Whether a human has used a passkey a short while ago.
    human_present: bool,
}

/// How the gate stands.
#[utoipa::path(get, path = "/api/v1/health", tag = "state",
    responses((status = 200, description = "how the gate stands", body = Health)))]
pub(super) async fn health(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<Health> {
    let rules = site.gate.rules();
    let ledger = site.gate.ledger();
    Json(Health {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy: rules.policy.digest().to_string(),
        tools: rules.policy.tools().count(),
        rules: rules.policy.rule_count(),
        records: ledger.end().seq,
        checkpoint: ledger.checkpoint(),
        ledger_key: ledger.key().to_string(),
        waiting: crate::pages::waiting(&site),
        human_present: site.gate.presence().is_present(site.now()),
    })
}

/// Budgets.
#[derive(Serialize, ToSchema)]
pub(super) struct BudgetList {
    items: Vec<BudgetWords>,
}

/// A budget over one period; every amount is in its smallest unit.
#[derive(Serialize, ToSchema)]
pub(super) struct BudgetWords {
    /// Its name in the ledger, such as `claude/spend/day`.
    budget: String,
    /// The limit of the policy that declares it.
    name: String,
    /// Whose it is; nobody's alone if agents have it together.
    agent: Option<String>,
    /// The unit.
    unit: String,
    /// The most that policy lets it come to.
    limit: u64,
    /// Less than that, if an operator set it.
    set: Option<u64>,
    /// Set aside for calls that are open.
    reserved: u64,
    /// Used.
    spent: u64,
    /// Kept for calls whose end is unknown.
    held: u64,
    /// What is left.
    free: u64,
    /// When it begins anew; nothing if it rolls.
    #[schema(format = DateTime)]
    resets: Option<String>,
}

/// Every budget that the rules in force declare.
#[utoipa::path(get, path = "/api/v1/budgets", tag = "state",
    responses((status = 200, description = "the budgets", body = BudgetList)))]
pub(super) async fn budgets(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Json<BudgetList> {
    let items = site.gate.usage().into_iter().map(|one| BudgetWords {
        budget: one.budget,
        name: one.name,
        agent: one.agent.map(|agent| agent.to_string()),
        unit: one.unit,
        limit: one.limit,
        set: one.set,
        reserved: one.reserved,
        spent: one.spent,
        held: one.held,
        free: one.free,
        resets: one.resets.map(|at| at.to_string()),
    });
    Json(BudgetList {
        items: items.collect(),
    })
}

/// A tighter bound of a budget.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetSent {
    /// Its name in the ledger.
    budget: String,
    /// The most that it may come to, such as `3.00 USD`; nothing takes the bound back.
    limit: Option<String>,
    /// A passkey's word, where an operator has set a bound already: the deed is `set the budget NAME to LIMIT`.
    #[serde(default)]
    #[schema(value_type = Option<ConfirmedSent>)]
    confirmed: Option<Object<ConfirmedSent>>,
}

/// Sets the most that a budget may come to, below what policy says, or takes that back.
#[utoipa::path(post, path = "/api/v1/budgets", tag = "state", request_body = BudgetSent,
    responses((status = 204, description = "it holds from here on")))]
pub(super) async fn set_budget(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<BudgetSent>,
) -> Result<StatusCode, Told> {
    if budgets::is_tightened(&site, &sent.budget) {
        let deed = budgets::deed(&sent.budget, sent.limit.as_deref().unwrap_or_default());
        let word = sent.confirmed.map(|word| word.0.into());
        confirmed(&site, &session, (&deed, word))?;
    }
    let operator = &site.operator;
    let set = operator.set_budget(sent.budget, sent.limit, &session.user);
    let set = set.await;
    set.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Credentials that are declared.
#[derive(Serialize, ToSchema)]
pub(super) struct CredentialList {
    items: Vec<CredentialWords>,
}

/// A credential, never its value.
#[derive(Serialize, ToSchema)]
pub(super) struct CredentialWords {
    id: String,
    kind: String,
    /// The origins that it is bound to.
    origins: Vec<String>,
    /// `ready`, `absent`, `dead` and so on.
    state: String,
    /// Whether a person grants it in a browser.
    connects: bool,
}

/// Every credential that is declared.
#[utoipa::path(get, path = "/api/v1/credentials", tag = "state",
    responses((status = 200, description = "the credentials", body = CredentialList)))]
pub(super) async fn credentials(
    State(site): State<Arc<Site>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<CredentialList>, Told> {
    let known = site.operator.credentials().await.map_err(Problem::from)?;
    let items = known.into_iter().map(|one| CredentialWords {
        id: one.id.to_string(),
        kind: one.kind,
        origins: one.origins,
        state: one.state,
        connects: one.connects,
    });
    Ok(Json(CredentialList {
        items: items.collect(),
    }))
}

/// Where a person has to agree.
#[derive(Serialize, ToSchema)]
pub(super) struct VisitWords {
    /// The page of the issuer.
    url: String,
    /// What to type there, if anything.
    code: Option<String>,
    /// What is asked for.
    scopes: Vec<String>,
}

/// Begins to have a person grant a credential.
#[utoipa::path(post, path = "/api/v1/credentials/{id}/connect", tag = "state",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = Empty,
    responses((status = 200, description = "where to go", body = VisitWords)))]
pub(super) async fn connect(
    State(site): State<Arc<Site>>,
    At(id): At<CredentialId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(Empty {}): Sent<Empty>,
) -> Result<Json<VisitWords>, Told> {
    let visit = site.operator.connect(id).await.map_err(Problem::from)?;
    Ok(Json(VisitWords {
        url: visit.url,
        code: visit.code,
        scopes: visit.scopes,
    }))
}

/// What becomes of a grant whose issuer cannot be told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectSent {
    /// Whether it is forgotten here all the same.
    forget: bool,
    /// A passkey's word: the deed is `give back the credential ID`.
    #[schema(value_type = ConfirmedSent)]
    confirmed: Object<ConfirmedSent>,
}

/// Gives back what a person granted.
#[utoipa::path(post, path = "/api/v1/credentials/{id}/disconnect", tag = "state",
    params(("id" = String, Path, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")), request_body = DisconnectSent,
    responses((status = 204, description = "it is given back")))]
pub(super) async fn disconnect(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    At(id): At<CredentialId>,
    Asked(Nothing {}): Asked<Nothing>,
    Sent(sent): Sent<DisconnectSent>,
) -> Result<StatusCode, Told> {
    let word = Some(sent.confirmed.0.into());
    confirmed(&site, &session, (&credentials::deed(&id), word))?;
    let forget = if sent.forget {
        Forget::InAnyCase
    } else {
        Forget::WhenTold
    };
    let given_back = site.operator.disconnect(id, forget).await;
    given_back.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT)
}
