//! The files of the pages, compiled in. A URL names the content, so that browsers keep it for good.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse as _, Response},
};
use exeat_types::Digest;
use http::{HeaderValue, StatusCode, header};

struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: [Asset; 11] = [
    asset("console.css", CSS, include_bytes!("../assets/console.css")),
    asset("console.js", JS, include_bytes!("../assets/console.js")),
    asset("live.js", JS, include_bytes!("../assets/live.js")),
    asset("approvals.js", JS, include_bytes!("../assets/approvals.js")),
    asset("requests.js", JS, include_bytes!("../assets/requests.js")),
    asset("passkey.js", JS, include_bytes!("../assets/passkey.js")),
    asset("account.js", JS, include_bytes!("../assets/account.js")),
    asset("confirm.js", JS, include_bytes!("../assets/confirm.js")),
    asset("push.js", JS, include_bytes!("../assets/push.js")),
    asset(
        "push-worker.js",
        JS,
        include_bytes!("../assets/push-worker.js"),
    ),
    asset("mark.svg", SVG, include_bytes!("../assets/mark.svg")),
];

const fn asset(name: &'static str, media: &'static str, bytes: &'static [u8]) -> Asset {
    Asset { name, media, bytes }
}

/// What changes when any of them does.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut all = Vec::new();
    for asset in &ASSETS {
        all.extend_from_slice(Digest::of(asset.bytes).to_string().as_bytes());
    }
    let digest = Digest::of(&all).to_string();
    digest.chars().skip("sha256:".len()).take(16).collect()
});

/// Where a page finds it.
///
/// One script may import another: all share the folder, and the version stands in the folder's name.
pub(crate) fn url(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// Serves one.
pub(crate) async fn serve(Path((_version, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
    let kind = HeaderValue::from_static(asset.media);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, forever),
    ];
    (headers, asset.bytes).into_response()
}
