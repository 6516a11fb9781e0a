//! Signers whose key lies in a service: `aws-kms`, `gcp-kms`, `vault-transit`, `remote`.

use std::sync::Arc;

use exeat_custody::{
    SigV4, SignerKind, Url,
    signer::{AwsKmsKey, GcpKmsKey, PeerKey, TransitKey},
};
use exeat_types::{
    Origin, Report,
    config::{Item, Table},
};

use super::reference;
use crate::settings::{credentials::certificate_of, raw::text, vault};

/// Where Google Cloud KMS is, unless the file says otherwise.
const GCP_KMS: &str = "https://cloudkms.googleapis.com";
/// Where the Transit engine is mounted, unless the file says otherwise.
const TRANSIT: &str = "transit";

pub(super) fn aws_kms(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let region = table.need("region", report);
    let key = table
        .need("key-id", report)
        .and_then(|item| item.text(report));
    let secret = table
        .need("secret", report)
        .and_then(|item| reference(&item, report));
    let access_key_id = text(table, "access-key-id", report);
    let region = region?;
    let word = region.text(report)?;
    if !SigV4::is_word(word) {
        region
            .problem(report, "this is no region")
            .help("expected one such as `eu-west-1`");
        return None;
    }
    let usual = format!("https://kms.{word}.amazonaws.com");
    Some(Arc::new(AwsKmsKey {
        origin: endpoint(table, &usual, report)?,
        region: word.to_owned(),
        key: key?.to_owned(),
        access_key_id,
        secret: secret?,
    }))
}

pub(super) fn gcp_kms(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let secret = table
        .need("secret", report)
        .and_then(|item| reference(&item, report));
    let origin = endpoint(table, GCP_KMS, report);
    let version = table.need("key-version", report)?;
    let name = version.text(report)?;
    if !GcpKmsKey::is_version(name) {
        version
            .problem(report, "this is no version of a key")
            .help("expected `projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V`");
        return None;
    }
    Some(Arc::new(GcpKmsKey {
        origin: origin?,
        version: name.to_owned(),
        secret: secret?,
    }))
}

pub(super) fn transit(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let server = vault::server(table, report);
    let mount = match table.get("mount") {
        Some(_) => name(table, "mount", report)?,
        None => TRANSIT.to_owned(),
    };
    Some(Arc::new(TransitKey {
        key: name(table, "label", report)?,
        server: server?,
        mount,
    }))
}

pub(super) fn remote(
    table: &Table<'_>,
    _: &Item<'_>,
    report: &mut Report,
) -> Option<Arc<dyn SignerKind>> {
    let base = table
        .need("url", report)
        .and_then(|item| item.parse::<Url>(report));
    let certificate = table
        .need("certificate", report)
        .and_then(|item| certificate_of(&item, report));
    let secret = table
        .need("secret", report)
        .and_then(|item| reference(&item, report));
    Some(Arc::new(PeerKey {
        key: name(table, "label", report)?,
        base: base?,
        certificate: certificate?.into_bytes(),
        secret: secret?,
    }))
}

fn endpoint(table: &Table<'_>, usual: &str, report: &mut Report) -> Option<Origin> {
    match table.get("endpoint") {
        Some(item) => Some(item.parse::<Url>(report)?.origin),
        None => Origin::parse(usual).ok(),
    }
}

/// A name that stands in a path as it is.
fn name(table: &Table<'_>, key: &'static str, report: &mut Report) -> Option<String> {
    let item = table.need(key, report)?;
    let text = item.text(report)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.starts_with('.') || !text.bytes().all(plain) {
        item.problem(report, "this cannot be a name there")
            .help("expected letters, digits, `-`, `_` and `.`");
        return None;
    }
    Some(text.to_owned())
}
