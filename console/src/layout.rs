//! The frame of every page: head, navigation, and the small pieces that pages are put together from.
//!
//! INVARIANT: no inline script and no inline style, so that the content security policy can refuse both.

use axum::response::{Html, IntoResponse as _, Response};
use exeat_types::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{assets, icon, session::Session, site::Site};

/// Where in the navigation a page belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Live,
    Approvals,
    Agents,
    Policy,
    Budgets,
    Credentials,
    Receipts,
    Health,
    /// A page of somebody's own keys.
    Account,
}

const TABS: [(Tab, &str, &str); 8] = [
    (Tab::Live, "/", "Live"),
    (Tab::Approvals, "/approvals", "Approvals"),
    (Tab::Agents, "/agents", "Agents"),
    (Tab::Policy, "/policy", "Tools and policy"),
    (Tab::Budgets, "/budgets", "Budgets"),
    (Tab::Credentials, "/credentials", "Credentials"),
    (Tab::Receipts, "/receipts", "Receipts"),
    (Tab::Health, "/health", "Health"),
];

/// What a page of somebody who is signed in looks like around its content.
pub(crate) struct Frame<'a> {
    /// The console.
    pub(crate) site: &'a Site,
    /// Who looks at it.
    pub(crate) session: &'a Session,
    /// Where it belongs.
    pub(crate) tab: Tab,
}

impl Frame<'_> {
    /// A whole page.
    pub(crate) fn page(&self, title: &str, content: Markup) -> Response {
        self.scripted(title, &[], content)
    }

    /// A whole page with scripts of its own.
    pub(crate) fn scripted(&self, title: &str, scripts: &[&str], content: Markup) -> Response {
        let waiting = crate::pages::waiting(self.site);
        let body = html! {
            a.skip href="#main" { "Skip to the content" }
            header.top {
                a.brand href="/" { (icon::mark()) span { "Exeat" } }
                button.menu type="button" data-menu aria-controls="tabs" aria-expanded="false" {
                    (icon::of("menu")) span { "Menu" }
                }
                div.who {
                    a href="/account" { (icon::of("person")) span.name { (self.session.user) } }
                    form method="post" action="/sign-out" {
                        (csrf(self.session))
                        button.quiet type="submit" { "Sign out" }
                    }
                }
            }
            div.columns {
                nav #tabs aria-label="Console" {
                    ul {
                        @for (tab, path, name) in TABS {
                            li {
                                a href=(path) aria-current=[(tab == self.tab).then_some("page")] {
                                    (icon::of(path)) span { (name) }
                                    @if tab == Tab::Approvals {
                                        span.count data-waiting hidden[waiting == 0] {
                                            span data-waiting-number { (waiting) }
                                            span.unseen { " waiting" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                main #main tabindex="-1" { (PreEscaped(content.0)) }
            }
            div #announce.unseen role="status" aria-live="polite" {}
        };
        document(title, Some(&self.session.csrf), scripts, &body)
    }
}

/// A page for somebody who may be a stranger: signing in, enrolling, a problem.
pub(crate) fn bare(title: &str, content: Markup) -> Response {
    bare_scripted(title, &[], content)
}

/// The same with scripts.
pub(crate) fn bare_scripted(title: &str, scripts: &[&str], content: Markup) -> Response {
    let body = html! {
        main #main.alone {
            div.brand { (icon::mark()) span { "Exeat" } }
            (PreEscaped(content.0))
        }
    };
    document(title, None, scripts, &body)
}

/// A page that asks for another one at once.
pub(crate) fn again(path: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(format!("0;url={}", quoted(path)));
                title { "Exeat" }
            }
            body { a href=(path) { "Go on" } }
        }
    };
    Html(page.into_string()).into_response()
}

/// A path cannot leave the URL of a refresh.
fn quoted(path: &str) -> String {
    path.replace('\'', "%27")
        .replace('"', "%22")
        .replace(';', "%3B")
}

fn document(title: &str, csrf: Option<&str>, scripts: &[&str], body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(csrf) = csrf { meta name="exeat-csrf" content=(csrf); }
                title { (title) " - Exeat" }
                link rel="icon" type="image/svg+xml" href=(assets::url("mark.svg"));
                link rel="stylesheet" href=(assets::url("console.css"));
                script type="module" src=(assets::url("console.js")) {}
                @for script in scripts {
                    script type="module" src=(assets::url(script)) {}
                }
            }
            body { (body) }
        }
    };
    Html(page.into_string()).into_response()
}

/// The field that every form carries.
pub(crate) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

/// The head of a page.
pub(crate) fn heading(title: &str, lead: &str) -> Markup {
    html! {
        header.head {
            h1 { (title) }
            @if !lead.is_empty() { p.lead { (marked(lead)) } }
        }
    }
}

/// A moment; scripts show it in the reader's own zone.
pub(crate) fn moment(at: Timestamp) -> Markup {
    let text = at.to_string();
    let day = text.get(..10).unwrap_or_default();
    let clock = text.get(11..19).unwrap_or_default();
    html! { time datetime=(text) title=(text) { (day) " " (clock) " UTC" } }
}

/// How far a moment is from now; scripts keep it going.
pub(crate) fn distance(at: Timestamp, now: Timestamp) -> Markup {
    let text = at.to_string();
    html! { time data-distance datetime=(text) title=(text) { (apart(at, now)) } }
}

fn apart(at: Timestamp, now: Timestamp) -> String {
    let (ahead, gap) = if at > now {
        (true, at.since(now))
    } else {
        (false, now.since(at))
    };
    let span = span(gap.as_secs());
    match (ahead, gap.as_secs()) {
        (false, 0..5) => "just now".to_owned(),
        (true, _) => format!("in {span}"),
        (false, _) => format!("{span} ago"),
    }
}

/// A number of seconds in the largest unit that fits.
pub(crate) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

/// A word in a coloured frame. The colour says nothing that the word does not.
pub(crate) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span.badge.(tone.class()) { (word) } }
}

/// What a word means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Wait,
    Plain,
}

impl Tone {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Wait => "wait",
            Self::Plain => "plain",
        }
    }
}

/// What is shown where there is nothing yet.
pub(crate) fn empty(title: &str, text: &str) -> Markup {
    html! {
        div.empty {
            (icon::of("empty"))
            p.title { (title) }
            p { (marked(text)) }
        }
    }
}

/// A sentence in which backticks frame what is typed.
pub(crate) fn marked(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Something that needs the reader's attention.
pub(crate) fn notice(tone: Tone, content: Markup) -> Markup {
    html! { div.notice.(tone.class()) role="note" { (PreEscaped(content.0)) } }
}

/// A number with its noun.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => counted(bytes, "byte", "bytes"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_from_where_the_reader_stands() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let at = |seconds| now.after(std::time::Duration::from_secs(seconds));
        assert_eq!(apart(now, now), "just now");
        assert_eq!(apart(at(90), now), "in 1 min");
        assert_eq!(apart(now, at(7200)), "2 h ago");
        assert_eq!(apart(now, at(864_000)), "10 days ago");
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(1_234_567), "1.2 MB");
        assert_eq!(counted(1, "call", "calls"), "1 call");
    }
}
