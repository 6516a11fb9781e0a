//! One question to a human: the request as it will be sent, why it is asked, what changed since the last time, and the answer.

use std::sync::Arc;

use axum::response::Response;
use exeat_ledger::{Extent, Progress};
use exeat_pipeline::{Pending, Shown};
use exeat_policy::Remember;
use exeat_types::Digest;
use maud::{Markup, html};

use super::{
    approvals::{needs, state, word},
    calls::{digest, sealed},
    diff, request, risk,
};
use crate::{
    layout::{Frame, Tab, Tone, badge, counted, csrf, distance, moment, notice},
    problem::sentence,
    session::Session,
    site::Site,
};

/// The times that are offered, in minutes, as far as the rule allows.
const MINUTES: [u64; 6] = [5, 15, 30, 60, 240, 1440];

pub(super) fn page(site: &Arc<Site>, session: &Session, pending: &Pending) -> Response {
    let last = site.gate.approvals().last_approved(pending);
    let is_open = pending.progress == Progress::Pending && pending.request.is_some();
    let content = html! {
        header.head data-events data-approval=(pending.id) data-state=(word(pending.progress)) {
            div.row {
                h1 { (pending.agent) " asks for " (pending.tool) }
                (state(pending.progress))
            }
            p.lead { "This is what the gate will send, byte for byte, if you approve. Any change to it is a new question." }
        }
        div #changed hidden {
            (notice(Tone::Wait, html! { p { "This question has changed since you opened it. " a href="" { "Load it again" } "." } }))
        }
        div.two {
            div.stack {
                section.card aria-labelledby="request" {
                    header { h2 #request { "Request" } (badge(Tone::Plain, &pending.category)) }
                    @match &pending.request {
                        Some(shown) => (request::shown(shown, pending.id.as_str())),
                        None => { p.muted { "The request is no longer kept. Its digest is, in every receipt." } }
                    }
                }
                @if let Some(shown) = &pending.request { (compared(shown, last.as_deref())) }
            }
            aside {
                (status(pending, site))
                @if is_open { (answers(pending, session)) }
                @if matches!(pending.progress, Progress::Granted(_)) { (revocation(pending, session)) }
            }
        }
    };
    let title = format!("{} asks for {}", pending.agent, pending.tool);
    let frame = Frame {
        site,
        session,
        tab: Tab::Approvals,
    };
    frame.scripted(&title, &["approvals.js"], content)
}

fn compared(shown: &Shown, last: Option<&Shown>) -> Markup {
    html! {
        section.card aria-labelledby="compared" {
            header { h2 #compared { "Compared with the last approved one" } }
            @match last {
                None => { p.muted { "No request of this agent to this tool was approved before." } }
                Some(last) => {
                    @match diff::changes(&request::lines(last), &request::lines(shown)) {
                        Some(changes) => (changes),
                        None if last == shown => { p { "It is the same request." } }
                        None => { (respaced(last, shown)) }
                    }
                }
            }
        }
    }
}

/// Two requests that read the same line by line, and are not.
fn respaced(last: &Shown, shown: &Shown) -> Markup {
    let of = |request: &Shown| Digest::of(request.body.as_deref().unwrap_or_default());
    notice(
        Tone::Wait,
        html! {
            p { b { "The bytes of the body differ." } " Laid out, both read the same: only its spacing, line ends or escapes have changed." }
            dl.facts {
                dt { "Last approved" } dd { (digest(&of(last))) }
                dt { "This one" } dd { (digest(&of(shown))) }
            }
        },
    )
}

/// Why it is asked, how far it has come, and what every answer is bound to.
fn status(pending: &Pending, site: &Site) -> Markup {
    let now = site.now();
    html! {
        section.card aria-labelledby="why" {
            h2 #why { "Why you are asked" }
            ul.tick {
                @for rule in &pending.rules { li { span { "The rule " code { (rule) } " wants a human." } } }
                @for why in &pending.why { li { span { (sentence(why)) } } }
                @if let Some(found) = &pending.risk { li { span { "Risk " (risk::line(found)) "." } } }
            }
            dl.facts {
                dt { "Agent" } dd { (pending.agent) ", " (sealed(pending.seal)) }
                dt { "Asked" } dd { (distance(pending.asked, now)) }
                @if pending.progress == Progress::Pending {
                    dt { "Ends" } dd { (distance(pending.expires, now)) }
                    dt { "Held now" } dd { (counted(u64::from(pending.waiting), "call", "calls")) }
                }
                @if let Progress::Granted(uses) = pending.progress {
                    dt { "Good until" } dd { (moment(pending.expires)) }
                    @if uses < u32::MAX { dt { "Uses left" } dd { (uses) } }
                }
                dt { "Digest" } dd { (digest(&pending.digest)) }
            }
            @if !pending.given.is_empty() { (given(pending)) }
        }
    }
}

fn given(pending: &Pending) -> Markup {
    html! {
        h3 { "Answers" }
        ul.tick {
            @for given in &pending.given {
                li {
                    span {
                        b { (given.user) }
                        @match given.extent {
                            Some(extent) => { " approved " (reach(extent)) " by " (given.by.name()) }
                            None => " denied",
                        }
                        " " span.muted.small { (moment(given.at)) }
                    }
                }
            }
        }
    }
}

fn reach(extent: Extent) -> Markup {
    html! {
        @match extent {
            Extent::Once => "once",
            Extent::Uses(uses) => { (counted(u64::from(uses), "call", "calls")) },
            Extent::Until(then) => { "until " (moment(then)) }
        }
    }
}

fn answers(pending: &Pending, session: &Session) -> Markup {
    let path = |verb: &str| format!("/approvals/{}/{verb}", pending.id);
    html! {
        section.card aria-labelledby="answer" {
            h2 #answer { "Your answer" }
            p.small.muted { (needs(pending)) }
            form.stack data-approve=(pending.id) {
                fieldset {
                    legend.small { "Approve" }
                    label.choice {
                        input type="radio" name="extent" value="once" checked;
                        span { "This call, once" }
                    }
                    (wider(pending.approve.remember))
                }
                button.main type="submit" { "Approve with passkey" }
            }
            p #said.said role="status" aria-live="polite" {}
            noscript { (notice(Tone::Wait, html! { p { "Passkeys need JavaScript. Denying works without." } })) }
            div.actions {
                form method="post" action=(path("deny")) data-deny {
                    (csrf(session))
                    button.bad type="submit" { "Deny" }
                }
                form method="post" action=(path("deny")) data-deny {
                    (csrf(session))
                    input type="hidden" name="pause" value="agent";
                    button.bad type="submit" { "Deny and pause " (pending.agent) }
                }
            }
        }
    }
}

/// What the rule offers besides a single call.
fn wider(offer: Remember) -> Markup {
    html! {
        @match offer {
            Remember::Once => {}
            Remember::Uses(most) => {
                label.choice {
                    input type="radio" name="extent" value="uses";
                    span.row {
                        "Equal calls, up to"
                        input type="number" name="uses" min="1" max=(most) value=(most) required aria-label="How many equal calls";
                    }
                }
            }
            Remember::Until(longest) => {
                label.choice {
                    input type="radio" name="extent" value="until";
                    span.row {
                        "Equal calls for"
                        select name="minutes" aria-label="For how long" {
                            @for minutes in offered(longest.as_secs()) {
                                option value=(minutes) { (crate::layout::span(minutes.saturating_mul(60))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Minutes within a time, its end among them.
fn offered(longest_secs: u64) -> Vec<u64> {
    let whole = longest_secs.div_ceil(60);
    let shorter = MINUTES.into_iter().filter(|minutes| *minutes < whole);
    shorter.chain([whole]).collect()
}

fn revocation(pending: &Pending, session: &Session) -> Markup {
    html! {
        section.card aria-labelledby="revoke" {
            h2 #revoke { "Take it back" }
            p.small.muted { "What was sent stays sent. What is left of this approval ends at once." }
            form method="post" action=(format!("/approvals/{}/revoke", pending.id)) {
                (csrf(session))
                button.bad type="submit" { "Revoke" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &'static str) -> Shown {
        Shown {
            method: "POST".to_owned(),
            origin: "https://api.example.com".to_owned(),
            path: "/v1/pay".to_owned(),
            query: None,
            headers: Vec::new(),
            body: Some(body.into()),
            credentials: Vec::new(),
        }
    }

    #[track_caller]
    fn check(last: &'static str, new: &'static str, says: &str) {
        let page = compared(&shown(new), Some(&shown(last))).into_string();
        assert!(page.contains(says), "{page}");
    }

    #[test]
    fn only_equal_bytes_are_the_same_request() {
        check(r#"{"a":1}"#, r#"{"a":1}"#, "It is the same request.");
        check(
            r#"{"a":1}"#,
            r#"{ "a": 1 }"#,
            "The bytes of the body differ.",
        );
        check(
            r#"{"a":"b"}"#,
            r#"{"a":"\u0062"}"#,
            "The bytes of the body differ.",
        );
        check("a\n", "a\r\n", "The bytes of the body differ.");
        check(r#"{"a":1}"#, r#"{"a":2}"#, "added: ");
    }

    #[test]
    fn no_time_is_offered_beyond_the_rule() {
        assert_eq!(offered(30 * 60), vec![5, 15, 30]);
        assert_eq!(offered(90), vec![2]);
        assert_eq!(offered(600), vec![5, 10]);
        let page = wider(Remember::Uses(3)).into_string();
        assert!(page.contains("max=\"3\""), "{page}");
        assert!(wider(Remember::Once).into_string().is_empty());
    }
}
