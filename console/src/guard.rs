//! What stands before every route: the right name, the right origin, a session, and proof that our own page asks.
//!
//! SECURITY: a page that a rebound name or another site brings, a form that it posts and a frame that it draws all end here.
//! Nothing that is served says more than it must: no caching, no sniffing, no script but our files.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Limited};

use crate::{layout, problem, session::Session, sign_in::inside, site::Site};

/// Paths that nobody has to be signed in for.
const OPEN: [&str; 3] = ["/sign-in", "/enroll", "/assets"];
/// The header in which scripts send what the page was given.
const CSRF_HEADER: &str = "exeat-csrf";
/// The form field for the same.
const CSRF_FIELD: &str = "csrf";
/// Bytes of a form.
const FORM_BYTES_MAX: usize = 256 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";

const ALWAYS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer` browsers would send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), publickey-credentials-get=(self)",
    ),
];

/// Lets a request through, or answers it.
pub(crate) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let is_asset = request.uri().path().starts_with("/assets/");
    let mut response = match examine(&site, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => *refused,
    };
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if site.origin.is_https() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    if !(is_asset && headers.contains_key(header::CACHE_CONTROL)) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn examine(site: &Arc<Site>, request: Request) -> Result<Request, Box<Response>> {
    let (mut parts, body) = request.into_parts();
    host(site, &parts)?;
    origin(site, &parts)?;
    let path = parts.uri.path();
    let is_open = OPEN.iter().any(|open| {
        let rest = path.strip_prefix(open);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let session = site.sessions.find(&parts.headers, site.now());
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD);
    if is_open {
        if !is_safe && media(&parts.headers) != "application/json" {
            return Err(refuse(
                &parts,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected `application/json`",
            ));
        }
        if let Some(session) = session {
            parts.extensions.insert(session);
        }
        return Ok(Request::from_parts(parts, body));
    }
    let Some(session) = session else {
        return Err(unknown(&parts));
    };
    let body = if is_safe {
        body
    } else {
        ours(&parts, body, &session).await?
    };
    parts.extensions.insert(session);
    Ok(Request::from_parts(parts, body))
}

/// The name that the browser believes to talk to: a name that was rebound to this address is not ours.
fn host(site: &Site, parts: &Parts) -> Result<(), Box<Response>> {
    let named = parts.headers.get_all(header::HOST).into_iter();
    let named: Vec<&[u8]> = named.map(HeaderValue::as_bytes).collect();
    let stated = parts.uri.authority().map(|it| it.as_str().as_bytes());
    let ours = site.origin.authority().as_bytes();
    if named == [ours] && stated.is_none_or(|stated| stated == ours) {
        return Ok(());
    }
    let text = format!("the console is at {}", site.origin.text());
    Err(refuse(parts, StatusCode::MISDIRECTED_REQUEST, &text))
}

/// Who asks: only our own pages may change anything, and no other site may even look.
fn origin(site: &Site, parts: &Parts) -> Result<(), Box<Response>> {
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD);
    let sent = parts.headers.get(header::ORIGIN);
    let is_ours = |value: &HeaderValue| value.as_bytes() == site.origin.text().as_bytes();
    let foreign = match sent {
        Some(value) => !is_ours(value),
        None => !is_safe,
    };
    // A link from elsewhere opens a page; anything else that another site asks for is refused.
    let from_elsewhere = matches!(
        fetch(parts, "sec-fetch-site"),
        Some("cross-site" | "same-site")
    );
    let is_link = is_safe
        && fetch(parts, "sec-fetch-mode") == Some("navigate")
        && fetch(parts, "sec-fetch-dest") == Some("document");
    if foreign || (from_elsewhere && !is_link) {
        return Err(refuse(
            parts,
            StatusCode::FORBIDDEN,
            "this request does not come from the console's own pages",
        ));
    }
    Ok(())
}

fn fetch<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// What the page was given comes back with everything that changes something.
async fn ours(parts: &Parts, body: Body, session: &Session) -> Result<Body, Box<Response>> {
    let missing = || {
        refuse(
            parts,
            StatusCode::FORBIDDEN,
            "the page is out of date; load it again",
        )
    };
    let sent = parts.headers.get(CSRF_HEADER);
    if let Some(sent) = sent {
        let sent = sent.to_str().unwrap_or_default();
        return session.has_csrf(sent).then_some(body).ok_or_else(missing);
    }
    if media(&parts.headers) != "application/x-www-form-urlencoded" {
        return Err(missing());
    }
    let whole = Limited::new(body, FORM_BYTES_MAX).collect().await;
    let whole = whole.map_err(|_cause| {
        refuse(
            parts,
            StatusCode::PAYLOAD_TOO_LARGE,
            "the form is too large",
        )
    })?;
    let bytes = whole.to_bytes();
    let mut fields = form_urlencoded::parse(&bytes).filter(|(name, _)| name == CSRF_FIELD);
    match (fields.next(), fields.next()) {
        (Some((_, sent)), None) if session.has_csrf(&sent) => {}
        _ => return Err(missing()),
    }
    Ok(Body::from(bytes))
}

fn media(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default();
    let plain = text.split(';').next().unwrap_or_default();
    plain.trim().to_ascii_lowercase()
}

/// Somebody who is not signed in: a page leads to the door, anything else says so.
fn unknown(parts: &Parts) -> Box<Response> {
    let path = parts.uri.path();
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD);
    if !is_safe || path.starts_with("/api/") || path.starts_with("/events") {
        return refuse(parts, StatusCode::UNAUTHORIZED, "sign in first");
    }
    let whole = parts.uri.path_and_query().map_or(path, |it| it.as_str());
    // A browser reads `//name/` as another site.
    let whole = inside(whole);
    if fetch(parts, "sec-fetch-site").is_some_and(|from| from != "none" && from != "same-origin") {
        // A link from elsewhere brings no `SameSite=Strict` cookie; the same page asked for by ours does.
        return Box::new(layout::again(whole));
    }
    let next: String = form_urlencoded::byte_serialize(whole.as_bytes()).collect();
    let to = HeaderValue::from_str(&format!("/sign-in?next={next}"));
    let to = to.unwrap_or(HeaderValue::from_static("/sign-in"));
    Box::new((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
}

fn refuse(parts: &Parts, status: StatusCode, text: &str) -> Box<Response> {
    let wants_page = parts.method == Method::GET && !parts.uri.path().starts_with("/api/");
    Box::new(if wants_page {
        problem::page(status, text)
    } else {
        problem::document(status, text, None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_that_reads_as_another_site_leads_home() {
        for path in [
            "//evil.example/",
            "//evil.example/x?y",
            "http://localhost:8089//evil.example/",
        ] {
            for from in ["cross-site", "none"] {
                let request = http::Request::get(path).header("sec-fetch-site", from);
                let (parts, ()) = request.body(()).unwrap().into_parts();
                let response = *unknown(&parts);
                let head = format!("{:?}", response.headers());
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let page = String::from_utf8_lossy(&body).into_owned();
                assert!(!format!("{head}{page}").contains("evil"), "{head}{page}");
            }
        }
    }
}
