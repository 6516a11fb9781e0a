//! The canonical request as people read it before they approve: complete, in order, with nothing hidden.
//!
//! SECURITY: what stands here is what will be sent. A body is laid out, never interpreted: numbers keep their digits, members
//! their order, and what cannot be laid out stands as it is.

use std::borrow::Cow;

use exeat_pipeline::Shown;
use exeat_types::Digest;
use maud::{Markup, html};

use super::{calls::digest, json::laid_out};
use crate::{
    layout::{Tone, counted, notice, size},
    visible::{Drawing, MARKUP_BYTES_MAX, Visible, hidden_in},
};

/// Fields of a query or a form that are shown as they will be read; all of them stand in the text as sent.
const FIELDS_MAX: usize = 2000;
/// The markup that such fields may become.
const FIELDS_BYTES_MAX: usize = 1024 * 1024;

/// A body as it is read.
enum Read<'a> {
    /// A form.
    Form(&'a str),
    /// Text, laid out if it is JSON.
    Text(Cow<'a, str>),
    /// Bytes of which so many are no text.
    Mixed(&'a [u8], usize),
}

impl<'a> Read<'a> {
    fn of(request: &'a Shown) -> Option<Self> {
        let bytes = request.body.as_deref()?;
        Some(match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() && is_form(request) => Self::Form(text),
            Ok(text) => Self::Text(laid_out(text)),
            Err(_) => {
                let bad = bytes.utf8_chunks().map(|chunk| chunk.invalid().len());
                Self::Mixed(bytes, bad.sum())
            }
        })
    }

    /// Characters that have to be spelled out.
    fn oddities(&self) -> usize {
        match self {
            Self::Form(text) => unseen(text) + in_fields(text),
            Self::Text(text) => unseen(text),
            Self::Mixed(bytes, bad) => {
                let chunks = bytes.utf8_chunks();
                bad + chunks.map(|chunk| unseen(chunk.valid())).sum::<usize>()
            }
        }
    }
}

/// The whole request.
pub(super) fn shown(request: &Shown, id: &str) -> Markup {
    let read = Read::of(request);
    let odd = oddities(request, read.as_ref());
    html! {
        div.request {
            p.target {
                b { (Visible(&request.method)) } " " (Visible(&request.origin)) (Visible(&request.path))
                @if let Some(query) = &request.query { "?" (Visible(query)) }
            }
            @if odd > 0 {
                (notice(Tone::Bad, html! {
                    p { b { (counted(odd, "character", "characters")) " in this request would not be seen, or would mislead." }
                        " Each is spelled out below, such as " span.hidden { "U+202E" } "." }
                }))
            }
            @if let Some(Read::Mixed(_, bad)) = &read {
                (notice(Tone::Bad, html! {
                    p { b { (counted(count(*bad), "byte", "bytes")) " of the body are no text." }
                        " Each is spelled out where it stands, such as " span.hidden { "0xFF" } "." }
                }))
            }
            @if let Some(query) = &request.query { (parameters("Query", query)) }
            section.stack {
                h3 { "Header fields" }
                @if request.headers.is_empty() { p.muted { "None but those that every client sends." } }
                @else {
                    dl.facts {
                        @for (name, value) in &request.headers {
                            dt.mono { (Visible(name)) }
                            dd.mono { (Visible(value)) }
                        }
                    }
                }
            }
            section.stack {
                h3 { "Credentials" }
                @if request.credentials.is_empty() { p.muted { "None. The request is sent as it stands." } }
                @else {
                    p { "Added by the gate after this: "
                        @for (at, credential) in request.credentials.iter().enumerate() {
                            @if at > 0 { ", or else " }
                            code { (credential) }
                        }
                    }
                }
            }
            (body(request, read.as_ref(), id))
        }
    }
}

fn body(request: &Shown, read: Option<&Read<'_>>, id: &str) -> Markup {
    let (Some(bytes), Some(read)) = (&request.body, read) else {
        return html! {
            section.stack { h3 { "Body" } p.muted { "None." } }
        };
    };
    let mut drawing = Drawing::of(MARKUP_BYTES_MAX);
    match read {
        Read::Form(text) => drawing.text(text),
        Read::Text(text) => drawing.text(text),
        Read::Mixed(bytes, _) => drawing.bytes(bytes),
    }
    let raw = format!("/approvals/{id}/body");
    html! {
        section.stack {
            div.row.between {
                h3 { "Body" }
                a.small href=(raw) download { "Download the exact bytes" }
            }
            p.small.muted.wrap { (size(count(bytes.len()))) ", " (digest(&Digest::of(bytes))) }
            @if drawing.left() > 0 {
                (notice(Tone::Bad, html! {
                    p { b { "The last " (size(count(drawing.left()))) " of this body are not shown." }
                        " Drawn, they would be too much for a page. Before you approve, read all of it: "
                        a href=(raw) download { "download the exact bytes" } "." }
                }))
            }
            @if let Read::Form(text) = read { (parameters("Form", text)) }
            pre.text tabindex="0" aria-label=(if matches!(read, Read::Form(_)) { "Form as sent" } else { "Body" }) {
                (drawing.end())
            }
        }
    }
}

/// A body that is a form, by its content type.
fn is_form(request: &Shown) -> bool {
    let mut headers = request.headers.iter();
    let media = headers.find(|(name, _)| name == "content-type");
    media.is_some_and(|(_, media)| media.starts_with("application/x-www-form-urlencoded"))
}

/// Fields of a query or a form, as they will be read.
fn parameters(title: &str, text: &str) -> Markup {
    let (mut rows, mut room) = (Vec::new(), FIELDS_BYTES_MAX);
    let mut fields = form_urlencoded::parse(text.as_bytes());
    while rows.len() < FIELDS_MAX && room > 0 {
        let Some((name, value)) = fields.next() else {
            break;
        };
        let mut sides = [Drawing::of(room), Drawing::of(room)];
        for (side, text) in sides.iter_mut().zip([&name, &value]) {
            side.text(text);
            room = room.saturating_sub(side.drawn());
        }
        rows.push(sides.map(Drawing::end));
    }
    let left = count(fields.count());
    html! {
        section.stack {
            h3 { (title) }
            dl.facts {
                @for [name, value] in &rows {
                    dt.mono { (name) }
                    dd.mono { @if value.0.is_empty() { span.muted { "empty" } } @else { (value) } }
                }
            }
            @if left > 0 {
                (notice(Tone::Bad, html! {
                    p { (counted(left, "more field is", "more fields are")) " not taken apart here. What is sent stands as a whole with the request." }
                }))
            }
        }
    }
}

fn count(many: usize) -> u64 {
    u64::try_from(many).unwrap_or(u64::MAX)
}

/// Hidden characters but the tabs and carriage returns that ordinary text has.
fn unseen(text: &str) -> usize {
    let usual = text.bytes().filter(|byte| matches!(byte, b'\t' | b'\r'));
    hidden_in(text).saturating_sub(usual.count())
}

fn in_fields(text: &str) -> usize {
    form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| hidden_in(&name) + hidden_in(&value))
        .sum()
}

/// Characters of the request that have to be spelled out.
fn oddities(request: &Shown, read: Option<&Read<'_>>) -> u64 {
    let query = request.query.as_deref().unwrap_or_default();
    let headers = request.headers.iter();
    let headers = headers.map(|(name, value)| hidden_in(name) + hidden_in(value));
    let fields = [
        hidden_in(&request.method),
        hidden_in(&request.origin),
        hidden_in(&request.path),
        hidden_in(query),
        in_fields(query),
        read.map_or(0, Read::oddities),
    ];
    count(fields.into_iter().chain(headers).sum())
}

/// The request as lines, to be compared with another. An empty line stands before the body, and nowhere else in front of it:
/// equal lines differ in the spacing and the escapes of the body at most.
pub(super) fn lines(request: &Shown) -> Vec<String> {
    let query = request.query.as_ref();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let mut lines = vec![format!(
        "{} {}{}{query}",
        request.method, request.origin, request.path
    )];
    let headers = request.headers.iter();
    lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
    let credentials = request.credentials.iter();
    lines.extend(credentials.map(|credential| format!("credential {credential}")));
    if let Some(bytes) = &request.body {
        lines.push(String::new());
        match std::str::from_utf8(bytes) {
            Ok(text) => lines.extend(laid_out(text).lines().map(str::to_owned)),
            Err(_) => lines.push(format!("body {}", Digest::of(bytes))),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(body: &[u8]) -> Shown {
        Shown {
            method: "POST".to_owned(),
            origin: "https://api.example.com".to_owned(),
            path: "/v1/pay".to_owned(),
            query: Some("to=%E2%80%AEmoc".to_owned()),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Some(Bytes::copy_from_slice(body)),
            credentials: vec!["bank".to_owned()],
        }
    }

    #[test]
    fn what_hides_in_a_query_or_a_body_is_counted_and_spelled_out() {
        let page = shown(&request(br#"{"note":"a\u200bb"}"#), "apr-1").into_string();
        assert!(page.contains("2 characters"), "{page}");
        assert!(page.contains("U+202E") && page.contains("U+200B"), "{page}");
        let binary = shown(&request(&[0xFF, 0xFE, b'a']), "apr-1").into_string();
        assert!(
            binary.contains("0xFF") && binary.contains("0xFE"),
            "{binary}"
        );
        assert!(
            binary.contains("2 bytes of the body are no text"),
            "{binary}"
        );
    }

    #[test]
    fn one_bad_byte_hides_nothing_of_the_rest() {
        let mut body = vec![b'x'; 100_000];
        body.extend(b"\xFFto: mallory");
        let page = shown(&request(&body), "apr-1").into_string();
        assert!(page.contains("to: mallory"));
        assert!(page.contains("1 byte of the body"));
    }

    #[test]
    fn what_hides_in_a_form_is_counted() {
        let mut form = request(b"to=a%E2%80%AEb&to=c%00d");
        form.query = None;
        form.headers = vec![(
            "content-type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        )];
        let page = shown(&form, "apr-1").into_string();
        assert!(page.contains("2 characters"), "{page}");
        form.body = Some(Bytes::from("&a".repeat(1 << 20)));
        let page = shown(&form, "apr-1").into_string();
        assert!(page.contains("more fields are not taken apart"));
        assert!(page.len() < 16 << 20, "{}", page.len());
    }

    #[test]
    fn a_body_that_would_flood_the_page_ends_in_a_notice_and_a_download() {
        let page = shown(&request("\u{1}a".repeat(2 << 20).as_bytes()), "apr-1").into_string();
        assert!(page.len() < 20 << 20, "{}", page.len());
        assert!(page.contains("of this body are not shown"));
    }

    #[test]
    fn lines_that_are_equal_differ_in_the_body_at_most() {
        let mut other = request(b"x");
        other.body = None;
        other.credentials.push("y".to_owned());
        let mut body = request(b"credential y");
        assert_ne!(lines(&other), lines(&body));
        body.body = Some(Bytes::new());
        other.credentials.pop();
        assert_ne!(lines(&other), lines(&body));
    }

    #[test]
    fn a_long_body_is_shown_to_its_end() {
        let long = format!("{}END", "x".repeat(300_000));
        assert!(
            shown(&request(long.as_bytes()), "a")
                .into_string()
                .contains("xEND")
        );
    }
}
