//! `gcp-service-account`: tokens of a Google service account.

use std::sync::Arc;

use exeat_custody::{GCP_TOKEN_ENDPOINT, Gcp, GcpToken, Kind, Url};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::super::raw::{text, texts};

pub(super) fn service_account(
    table: &Table<'_>,
    kind: &Item<'_>,
    report: &mut Report,
) -> Option<Kind> {
    let scopes: Vec<String> = texts(table, "scopes", report)
        .into_iter()
        .map(|scope| scope.value)
        .collect();
    let audience = text(table, "audience", report);
    let forms = [
        ("access", Form::Access),
        ("identity", Form::Identity),
        ("self-signed", Form::SelfSigned),
    ];
    let form = match table.get("form") {
        Some(item) => item.word(report, &forms)?,
        None => Form::Access,
    };
    let token = match (form, audience) {
        (Form::Access, None) if !scopes.is_empty() => GcpToken::Access(scopes),
        (Form::Identity, Some(audience)) if scopes.is_empty() => GcpToken::Identity(audience),
        (Form::SelfSigned, None) => GcpToken::SelfSigned(scopes),
        (Form::Access | Form::Identity | Form::SelfSigned, _) => {
            kind.problem(report, "the token does not fit its scopes and audience")
                .help("an access token has `scopes`, an identity token has `audience`, a self-signed one has `scopes` or neither");
            return None;
        }
    };
    let endpoint: Url = match table.get("token-endpoint") {
        Some(item) => item.parse(report)?,
        None => GCP_TOKEN_ENDPOINT.parse().ok()?,
    };
    let account = text(table, "email", report).zip(text(table, "key-id", report));
    Some(Kind::Made(Arc::new(Gcp {
        token,
        subject: text(table, "subject", report),
        endpoint,
        account,
    })))
}

#[derive(Clone, Copy)]
enum Form {
    Access,
    Identity,
    SelfSigned,
}
