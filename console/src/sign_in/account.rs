//! `/account`: the passkeys that may approve. A key that is there signs for every key that comes or goes.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{Html, Response},
};
use exeat_ledger::{
    Enrolment, Vote,
    passkey::{Keys, Vouch},
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    SignerOf,
    ceremony::{Ceremony, Taken, fresh_nonce},
    enrol,
    enter::{Signed, check, no_random, too_late},
    sign_options,
};
use crate::{
    layout::{self, Frame, Tab},
    problem::{Problem, Told},
    session::Session,
    site::Site,
    visible::Visible,
};

/// The page.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let keys = site.gate.ledger().passkeys();
    let content = html! {
        (layout::heading("Passkeys", "The keys that sign in here and approve. Every one is in the ledger."))
        section data-candidates {
            (candidates_shown(&site, &session))
        }
        (keys_shown(&keys, &session))
        p { a.button href="/pair" { "Add a device" } }
    };
    let frame = Frame {
        site: &site,
        session: &session,
        tab: Tab::Account,
    };
    frame.scripted("Passkeys", &["account.js"], content)
}

fn candidates_shown(site: &Site, session: &Session) -> Markup {
    let waiting = site.ceremonies.waiting(site.now());
    let keys = site.gate.ledger().passkeys();
    html! {
        @for (name, candidate) in &waiting {
            div.card data-candidate=(name) {
                h2 { "A new passkey asks to be added" }
                dl {
                    dt { "Person" } dd { (Visible(&candidate.enrolment.user)) }
                    dt { "Device" } dd { (Visible(candidate.enrolment.device.as_deref().unwrap_or_default())) }
                    dt { "Fingerprint" } dd { code { (candidate.fingerprint) } }
                }
                p { "Compare the fingerprint with the one on the new device. Whoever has this key will approve as this person." }
                @if may_add(&keys, session, &candidate.enrolment.user) {
                    button.main type="button" data-vouch { "Add it with my passkey" }
                    " "
                } @else {
                    p.hint { "Only a passkey that this person has already can add it." }
                }
                button type="button" data-dismiss { "Dismiss" }
                p.status role="status" aria-live="polite" {}
            }
        }
    }
}

/// Somebody's further keys are theirs to add; of people who have none, anybody's who is there.
fn may_add(keys: &Keys, session: &Session, user: &str) -> bool {
    user == session.user || !keys.has_key(user)
}

fn keys_shown(keys: &Keys, session: &Session) -> Markup {
    let only = keys.iter().count() == 1;
    html! {
        div.scroll {
            table.table {
                thead { tr { th { "Device" } th { "Person" } th { "Fingerprint" } th { "Since" } th { "Vouched for by" } th { span.unseen { "Actions" } } } }
                tbody {
                    @for (id, key) in keys.iter() {
                        tr {
                            td data-of="Device" {
                                (Visible(key.device.as_deref().unwrap_or("unnamed")))
                                @if id == session.key { " " span.badge.plain { "this session" } }
                            }
                            td data-of="Person" { (Visible(&key.user)) }
                            td data-of="Fingerprint" { code { (key.public_key.fingerprint()) } }
                            td data-of="Since" { (layout::moment(key.since)) }
                            td data-of="Vouched for by" {
                                @match key.vouched_by.as_deref().map(|by| keys.key(by)) {
                                    None => { "one-time code" }
                                    Some(Some(by)) => { (Visible(by.device.as_deref().unwrap_or("unnamed"))) }
                                    Some(None) => { "a key that was removed" }
                                }
                            }
                            td data-of="" {
                                @if key.user != session.user {
                                    input name="code" placeholder="one-time code" aria-label="One-time code" autocomplete="off" autocapitalize="none" spellcheck="false";
                                }
                                button.quiet type="button" data-remove=(id) disabled[only] { "Remove" }
                                p.status role="status" aria-live="polite" {}
                            }
                        }
                    }
                }
            }
        }
        @if only {
            p.hint { "This is the only key. If it is lost, nobody can approve: add a second device." }
        }
    }
}

/// The new keys that wait, for a page that is open.
pub(super) async fn candidates(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Html<String> {
    Html(candidates_shown(&site, &session).into_string())
}

/// What somebody wants changed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Wanted {
    /// Take a new key in.
    Add(String),
    /// Take a key away.
    Remove(Removed),
}

/// The key that is to go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    key: String,
    /// Somebody else's goes only with a one-time code for them, out of the shell of the gate's machine.
    #[serde(default)]
    code: Option<String>,
}

/// What is to be signed and written.
struct Change {
    enrolment: Enrolment,
    candidate: Option<String>,
    code: Option<String>,
}

/// Begins: what the signer's key has to sign.
pub(super) async fn begin(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, Told> {
    let Change {
        enrolment,
        candidate,
        code,
    } = change(&site, &session, wanted)?;
    let nonce = fresh_nonce().map_err(no_random)?;
    let digest = Vouch {
        enrolment: &enrolment,
        nonce,
    }
    .digest();
    let ceremony = Ceremony::Vouch {
        enrolment: Box::new(enrolment),
        nonce,
        user: session.user.clone(),
        candidate,
        code,
    };
    let ceremony = site.ceremonies.begin(ceremony, site.now());
    let ceremony = ceremony.map_err(no_random)?;
    let options = sign_options(&site, &digest, SignerOf::User(&session.user));
    Ok(Json(json!({ "ceremony": ceremony, "publicKey": options })))
}

fn change(site: &Site, session: &Session, wanted: Wanted) -> Result<Change, Told> {
    let keys = site.gate.ledger().passkeys();
    match wanted {
        Wanted::Add(name) => {
            let candidate = site.ceremonies.candidate(&name, site.now());
            let candidate = candidate.filter(|it| it.ending.is_none());
            let candidate = candidate.ok_or_else(too_late)?;
            if !may_add(&keys, session, &candidate.enrolment.user) {
                let text = "only a person's own key can add another one of theirs";
                return Err(Told(Problem::forbidden(text)));
            }
            Ok(Change {
                enrolment: candidate.enrolment,
                candidate: Some(name),
                code: None,
            })
        }
        Wanted::Remove(Removed { key: id, code }) => {
            let key = keys
                .key(&id)
                .ok_or_else(|| Told(Problem::not_found("there is no such passkey")))?;
            if keys.iter().count() == 1 {
                return Err(Told(Problem::conflict("the last passkey stays")));
            }
            let code = match key.user == session.user {
                true => None,
                false => Some(coded(site, &key.user, code)?),
            };
            let enrolment = Enrolment {
                device: key.device.clone(),
                key: id,
                origin: Some(key.relying.origin.clone()),
                public_key: None,
                rp_id: Some(key.relying.rp_id.clone()),
                user: key.user.clone(),
                vouched: None,
            };
            Ok(Change {
                enrolment,
                candidate: None,
                code,
            })
        }
    }
}

/// A code that is good for somebody else.
///
/// SECURITY: else one person could take away the keys of another, and make that person anew.
fn coded(site: &Site, user: &str, code: Option<String>) -> Result<String, Told> {
    let is_good = |code: &String| site.codes.user(code, site.now()).as_deref() == Some(user);
    code.filter(is_good).ok_or_else(|| {
        let help = format!("`exeat console enroll --user {user}` on the gate's machine makes one");
        let text = "somebody else's key goes only with a one-time code for them";
        Told(Problem::forbidden(text).help(help))
    })
}

/// Ends: the change is written, with what vouches for it.
pub(super) async fn finish(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
    Json(signed): Json<Signed>,
) -> Result<Json<Value>, Told> {
    let ceremony = site.ceremonies.take(&signed.ceremony, site.now());
    let Some(Ceremony::Vouch {
        enrolment,
        nonce,
        user,
        candidate,
        code,
    }) = ceremony
    else {
        return Err(too_late());
    };
    let digest = Vouch {
        enrolment: &enrolment,
        nonce,
    }
    .digest();
    let key = check(&site, &signed.assertion, &digest)?;
    if user != session.user || key.user != session.user {
        return Err(Told(Problem::conflict("somebody else's key signed it")));
    }
    if code.is_some_and(|code| !site.codes.spend(&code, site.now())) {
        return Err(enrol::bad_code());
    }
    let mut enrolment = *enrolment;
    let removed = enrolment
        .public_key
        .is_none()
        .then(|| enrolment.key.clone());
    enrolment.vouched = Some(Box::new(Vote {
        assertion: Some(signed.assertion),
        extent: None,
        nonce: Some(nonce.to_string()),
        user,
    }));
    enrol::write(&site, enrolment).await?;
    if let Some(candidate) = candidate {
        site.ceremonies.end(&candidate, Taken::In);
    }
    if let Some(removed) = removed {
        site.sessions.end_of_key(&removed);
        site.gate.approvals().keys_changed();
        site.somebody_left();
    }
    Ok(Json(json!({})))
}

/// Which.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dismissed {
    candidate: String,
}

/// A new key is not wanted.
pub(super) async fn dismiss(
    State(site): State<Arc<Site>>,
    Json(dismissed): Json<Dismissed>,
) -> Json<Value> {
    site.ceremonies.end(&dismissed.candidate, Taken::Out);
    Json(json!({}))
}
