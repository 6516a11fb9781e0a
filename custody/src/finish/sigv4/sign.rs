//! Signs one request with a key of its own, by the crate `aws-sigv4`: canonical form, string to sign, signature.
//!
//! What is signed is what is sent. The path of S3 is escaped once, that of every other service twice.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
        SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use exeat_types::{Origin, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{keys::Keys, stated::PARAMETERS};
use crate::NotIssued;

/// Everything but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Headers that are set here, or that somebody on the way may change.
const NEVER: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    HeaderName::from_static("x-amzn-trace-id"),
    DATE,
    TOKEN,
];
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
pub(super) const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// What a signature is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

impl Scope {
    pub(super) fn is_s3(&self) -> bool {
        is_s3(&self.service)
    }
}

/// S3 and what speaks like it: the path is taken as it is, and the hash of the body is always stated.
pub(super) fn is_s3(service: &str) -> bool {
    service == "s3" || service.starts_with("s3-") || service == "s3express"
}

/// A request that is to be signed.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a Method,
    pub(super) origin: &'a Origin,
    pub(super) target: &'a mut String,
    pub(super) headers: &'a mut HeaderMap,
    /// The hash of the body, or one of the words that stand for it.
    pub(super) payload: &'a str,
    /// Headers to be signed besides those that always are.
    pub(super) also: &'a [HeaderName],
}

/// Where the signature goes, and when it is made.
#[derive(Clone, Copy)]
pub(super) enum Onto {
    /// `Authorization`.
    Header { now: Timestamp },
    /// The query, good for so long from then on.
    Query { from: Timestamp, seconds: u64 },
}

impl Unsigned<'_> {
    /// Puts the signature in, and answers it.
    pub(super) fn sign(self, keys: &Keys, scope: &Scope, onto: Onto) -> Result<String, NotIssued> {
        self.headers.remove(header::AUTHORIZATION);
        self.headers.remove(DATE);
        self.headers.remove(TOKEN);
        *self.target = without_signature(self.target);
        let mut settings = SigningSettings::default();
        settings.excluded_headers = None;
        if scope.is_s3() {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let moment = match onto {
            Onto::Header { now } => {
                if scope.is_s3() || self.headers.contains_key(CONTENT_HASH) {
                    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
                    self.headers.remove(CONTENT_HASH);
                }
                now
            }
            Onto::Query { from, seconds } => {
                settings.signature_location = SignatureLocation::QueryParams;
                settings.expires_in = Some(Duration::from_secs(seconds));
                from
            }
        };
        let uri = format!("{}{}", self.origin, signed_target(self.target, scope));
        let signed = self.signed_headers()?;
        let body = SignableBody::Precomputed(self.payload.to_owned());
        let fields = signed.iter().map(|(name, value)| (*name, *value));
        let request = SignableRequest::new(self.method.as_str(), uri, fields, body);
        let request = request.map_err(|_cause| UNFIT)?;
        let credentials: Credentials = keys.credentials();
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&scope.region)
            .name(&scope.service)
            .time(UNIX_EPOCH + Duration::from_millis(moment.millis()))
            .settings(settings)
            .build()
            .map_err(|_cause| UNFIT)?;
        let (put, signature) = sign(request, &parameters.into())
            .map_err(|_cause| UNFIT)?
            .into_parts();
        let (fields, parameters) = put.into_parts();
        for field in fields {
            let mut value = HeaderValue::from_str(field.value()).map_err(|_cause| UNFIT)?;
            value.set_sensitive(field.sensitive() || field.name() == "authorization");
            self.headers
                .insert(HeaderName::from_static(field.name()), value);
        }
        for (name, value) in parameters {
            let gap = if self.target.contains('?') { '&' } else { '?' };
            let value = utf8_percent_encode(&value, RESERVED);
            self.target.push_str(&format!("{gap}{name}={value}"));
        }
        Ok(signature)
    }

    fn signed_headers(&self) -> Result<Vec<(&str, &str)>, NotIssued> {
        let mut fields = Vec::new();
        for (name, value) in self.headers.iter() {
            let always = name.as_str().starts_with("x-amz-")
                || *name == header::CONTENT_TYPE
                || *name == CONTENT_MD5;
            if (always || self.also.contains(name)) && !NEVER.contains(name) {
                let value = value.to_str().map_err(|_cause| UNFIT)?;
                fields.push((name.as_str(), value));
            }
        }
        Ok(fields)
    }
}

const UNFIT: NotIssued = NotIssued::Dead("a header or the path does not fit a signature");

/// The target without the parameters of an earlier signature.
fn without_signature(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let ours = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        let name = percent_decode_str(name).decode_utf8_lossy();
        PARAMETERS.iter().any(|known| *known == name)
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !ours(pair)).collect();
    if kept.concat().is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", kept.join("&"))
}

/// The target as the server will see it. S3 escapes what it decoded, so every reserved character counts as escaped.
fn signed_target(target: &str, scope: &Scope) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut out = String::with_capacity(target.len());
    if scope.is_s3() {
        const KEPT: &AsciiSet = &RESERVED.remove(b'/').remove(b'%');
        out.extend(utf8_percent_encode(path, KEPT));
    } else {
        out.push_str(path);
    }
    if !query.is_empty() {
        out.push('?');
        out.push_str(query);
    }
    out
}
