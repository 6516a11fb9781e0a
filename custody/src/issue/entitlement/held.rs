//! A credential that was verified: when it holds, where its status stands, and what of it is shown.

use exeat_types::{Secret, Signer, Timestamp};
use serde_json::Value;

use super::{Entitlement, Format, sd_jwt::SdJwt};
use crate::{
    Url,
    jose::{self, Jwk, Members},
};

/// Largest credential that is read.
const BYTES_MAX: usize = 64 * 1024;
/// Most statuses of one credential.
const STATUSES_MAX: usize = 8;

/// A credential, ready to be shown.
pub(super) struct Held {
    /// What is shown, without a proof of ours.
    pub(super) shown: Secret,
    /// It is good from here on.
    pub(super) begins: Option<Timestamp>,
    /// It is good until here.
    pub(super) ends: Option<Timestamp>,
    /// Where it has to be looked up whether it still holds.
    pub(super) statuses: Vec<StatusRef>,
}

/// A place in a list of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StatusRef {
    /// In a Token Status List.
    Token { list: Url, index: u64 },
    /// In a Bitstring Status List, for this purpose.
    Bitstring {
        list: Url,
        index: u64,
        purpose: String,
    },
    /// In a form that is not known here.
    Foreign,
}

/// Verifies a credential as the configuration says.
pub(super) fn verify(
    declared: &Entitlement,
    text: &str,
    holder: Option<&dyn Signer>,
) -> Result<Held, &'static str> {
    if text.len() > BYTES_MAX {
        return Err("is too large");
    }
    let (claims, shown) = match declared.format {
        Format::SdJwt => {
            let sd_jwt = SdJwt::read(text)?;
            let verified = jose::verify(sd_jwt.jwt(), &declared.issuer_keys)?;
            typed(&verified.header, &["dc+sd-jwt", "vc+sd-jwt"])?;
            let resolved = sd_jwt.resolve(&verified.claims)?;
            let shown = sd_jwt.present(&resolved, &declared.disclose);
            (resolved.claims, shown)
        }
        Format::Jwt => {
            let verified = jose::verify(text, &declared.issuer_keys)?;
            if verified.header.contains_key("typ") {
                typed(&verified.header, &["JWT", "vc+jwt", "vc+ld+jwt"])?;
            }
            (verified.claims, text.to_owned())
        }
    };
    // The data model of the W3C stands in the claims themselves (2.0) or in one of them (1.1).
    let body = claims
        .get("vc")
        .and_then(Value::as_object)
        .unwrap_or(&claims);
    let issuer = claims.get("iss").or_else(|| body.get("issuer"));
    let issuer = issuer.and_then(|issuer| issuer.as_str().or_else(|| issuer.get("id")?.as_str()));
    if issuer != Some(declared.issuer.as_str()) {
        return Err("is from another issuer");
    }
    if !declared
        .of_type
        .as_deref()
        .is_none_or(|wanted| is_of_type(&claims, body, wanted))
    {
        return Err("is of another type");
    }
    bound(&claims, holder)?;
    let begins = [
        seconds(&claims, "nbf")?,
        moment(body, &["validFrom", "issuanceDate"])?,
    ];
    let ends = [
        seconds(&claims, "exp")?,
        moment(body, &["validUntil", "expirationDate"])?,
    ];
    Ok(Held {
        shown: Secret::new(shown.into_bytes()),
        begins: begins.into_iter().flatten().max(),
        ends: ends.into_iter().flatten().min(),
        statuses: statuses(&claims, body)?,
    })
}

/// Whether the header says that it is one of these.
pub(super) fn typed(header: &Members, types: &[&str]) -> Result<(), &'static str> {
    let found = header
        .get("typ")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let found = found.strip_prefix("application/").unwrap_or(found);
    let known = types.iter().any(|known| known.eq_ignore_ascii_case(found));
    known.then_some(()).ok_or("is a token of another kind")
}

/// A moment in seconds, if there is one.
pub(super) fn seconds(claims: &Members, name: &str) -> Result<Option<Timestamp>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    // Some issuers write fractions.
    let text = value.to_string();
    let whole = text
        .split('.')
        .next()
        .and_then(|whole| whole.parse::<u64>().ok());
    let millis = whole.and_then(|seconds| seconds.checked_mul(1000));
    millis
        .map(|millis| Some(Timestamp::from_millis(millis)))
        .ok_or("has a time that is none")
}

/// A moment in RFC 3339, by whatever name the version of the data model has for it.
pub(super) fn moment(body: &Members, names: &[&str]) -> Result<Option<Timestamp>, &'static str> {
    let Some(value) = names.iter().find_map(|name| body.get(*name)) else {
        return Ok(None);
    };
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or("has a time that is none")
}

fn is_of_type(claims: &Members, body: &Members, wanted: &str) -> bool {
    let one = claims.get("vct").and_then(Value::as_str) == Some(wanted);
    one || holds(body.get("type"), wanted)
}

/// Whether this is the text, or a list with it.
pub(super) fn holds(value: Option<&Value>, text: &str) -> bool {
    match value {
        Some(Value::String(one)) => one == text,
        Some(Value::Array(all)) => all.iter().any(|one| one == text),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// A credential that is bound to a key is of use only with that key, and a key only with a credential that is bound to it.
fn bound(claims: &Members, holder: Option<&dyn Signer>) -> Result<(), &'static str> {
    match (claims.get("cnf"), holder) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err("is bound to no key: remove `signer`"),
        (Some(_), None) => Err("is bound to a key: name its `signer`"),
        (Some(cnf), Some(holder)) => {
            let key = cnf
                .get("jwk")
                .ok_or("is bound to a key in an unknown form")?;
            let ours = Jwk::of(holder).map_err(|failure| failure.0)?;
            let same = Jwk::read(key)?.members() == ours.members();
            same.then_some(())
                .ok_or("is bound to another key than that of its `signer`")
        }
    }
}

fn statuses(claims: &Members, body: &Members) -> Result<Vec<StatusRef>, &'static str> {
    let mut all = Vec::new();
    if let Some(status) = claims.get("status") {
        all.push(
            status
                .get("status_list")
                .and_then(token_ref)
                .unwrap_or(StatusRef::Foreign),
        );
    }
    match body.get("credentialStatus") {
        None => {}
        Some(Value::Array(entries)) => all.extend(entries.iter().filter_map(bitstring_ref)),
        Some(entry) => all.extend(bitstring_ref(entry)),
    }
    if all.len() > STATUSES_MAX {
        return Err("has too many statuses");
    }
    Ok(all)
}

fn token_ref(value: &Value) -> Option<StatusRef> {
    Some(StatusRef::Token {
        list: value.get("uri")?.as_str()?.parse().ok()?,
        index: value.get("idx")?.as_u64()?,
    })
}

/// An entry whose purpose is no matter of whether it holds is none.
fn bitstring_ref(entry: &Value) -> Option<StatusRef> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let known = holds(entry.get("type"), "BitstringStatusListEntry");
    match text("statusPurpose") {
        Some("revocation" | "suspension") => {}
        Some("message" | "refresh") if known => return None,
        Some(_) | None => return Some(StatusRef::Foreign),
    }
    let one_bit = entry.get("statusSize").is_none_or(|size| size == 1);
    let read = || {
        let index = entry.get("statusListIndex")?;
        let index = index.as_u64().or_else(|| index.as_str()?.parse().ok())?;
        Some(StatusRef::Bitstring {
            list: text("statusListCredential")?.parse().ok()?,
            index,
            purpose: text("statusPurpose")?.to_owned(),
        })
    };
    Some(
        read()
            .filter(|_| known && one_bit)
            .unwrap_or(StatusRef::Foreign),
    )
}
