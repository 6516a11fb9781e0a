//! `/pair`: a link with a one-time code for another device, as a QR code where a phone can follow it.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, PreEscaped, html};
use qrcode::{QrCode, render::svg};

use super::codes::Issued;
use crate::{
    layout::{self, Frame, Tab},
    problem::Problem,
    session::Session,
    site::Site,
};

/// Letters of the name of a person.
const USER_LETTERS_MAX: usize = 64;

/// Asks for whom.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Response {
    let content = html! {
        (layout::heading("Add a device", "A second key of yours: another device, or a security key."))
        (reach(&site))
        form method="post" action="/pair" {
            (layout::csrf(&session))
            p { "It will approve as " b { (session.user) } ". Confirm it with a passkey of yours." }
            button.main type="submit" { "Make a link" }
        }
        p.hint {
            "For another person, run " code { "exeat console enroll --user NAME" } " on the machine of the gate, and confirm             their first key on the page of passkeys. Where a rule wants two people, it counts by that name."
        }
    };
    shown(&site, &session, content)
}

/// Whether a phone can come here, and what to do if not.
fn reach(site: &Site) -> Markup {
    if site.origin.is_https() {
        return html! {};
    }
    layout::notice(
        layout::Tone::Wait,
        html! {
            p { "A phone cannot open " code { (site.origin.text()) } ": passkeys work over https, or on this machine." }
            p {
                "To pair a phone, give the console a name and a certificate that the phone trusts, and start the gate again: "
                code { "[console] origin = \"https://exeat.example.com\"" } " with " code { "tls = { cert = \"...\", key = \"...\" }" }
                ". Passkeys belong to the origin, so do it before you enrol the first one."
            }
            p { "A security key or another browser on this machine can be added now." }
        },
    )
}

/// Shows the link.
pub(super) async fn link(
    State(site): State<Arc<Site>>,
    Extension(session): Extension<Arc<Session>>,
) -> Result<Response, Problem> {
    // SECURITY: a code for somebody else comes from the shell of the gate's machine only: else one person could make another.
    let issued = site.codes.issue(&session.user, site.now());
    let issued = issued.map_err(|_cause| Problem::failed("the machine yields no random bytes"))?;
    let url = site.origin.url(&format!("/enroll?code={}", issued.code));
    let content = html! {
        (layout::heading("Add a device", "The new key has to be confirmed here, with your passkey."))
        (offered(&site, &url, &issued)?)
        section data-candidates data-poll {}
        p { a href="/account" { "All passkeys" } }
    };
    Ok(shown(&site, &session, content))
}

fn offered(site: &Site, url: &str, issued: &Issued) -> Result<Markup, Problem> {
    let code = if site.origin.is_https() {
        let code = QrCode::new(url).map_err(|_cause| Problem::failed("the link is too long"))?;
        let drawn = code
            .render::<svg::Color<'_>>()
            .min_dimensions(240, 240)
            .quiet_zone(true)
            .build();
        // Without its XML head, it can stand in a page.
        let at = drawn.find("<svg").unwrap_or(0);
        let drawn = drawn.split_at_checked(at).map_or("", |(_, svg)| svg);
        Some(drawn.to_owned())
    } else {
        None
    };
    Ok(html! {
        div.card {
            @if let Some(code) = code {
                div.qr role="img" aria-label="QR code of the link below" { (PreEscaped(code)) }
            }
            p { "On the new device, open" }
            p { a.long href=(url) { code { (url) } } }
            p.hint { "Good once, until " (layout::moment(issued.until)) "." }
        }
    })
}

fn shown(site: &Site, session: &Session, content: Markup) -> Response {
    let frame = Frame {
        site,
        session,
        tab: Tab::Account,
    };
    frame.scripted("Add a device", &["account.js"], content)
}

/// The name of a person as it is kept, if everybody can read it: 1 to 64 letters, every one visible.
pub fn user_name(text: &str) -> Option<&str> {
    let name = text.trim();
    let is_plain = !name.is_empty()
        && name.chars().count() <= USER_LETTERS_MAX
        && crate::visible::hidden_in(name) == 0
        && !name.contains('\n');
    is_plain.then_some(name)
}
