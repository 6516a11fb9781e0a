//! Obtains a credential that somebody was offered: `OpenID4VCI` 1.0, pre-authorized code.
//!
//! The offer is a secret like a password: whoever has it gets the credential, once. Every server that it leads to has to
//! be the declared issuer, so that an offer from somebody else leads nowhere.

use std::sync::Arc;

use exeat_types::{Secret, Signer};
use http::{
    HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Entitlement;
use crate::{
    NotIssued, OwnRequest, Url, Work, inject,
    issue::exchange::{self, Hidden},
    jose::{self, Jwk, members},
};

/// The scheme of an offer (`OpenID4VCI` section 4.1).
pub(super) const SCHEME: &str = "openid-credential-offer://";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:pre-authorized_code";
const UNLIKE: NotIssued = NotIssued::Dead("its offer or its metadata is not what was expected");

/// Obtains the credential. `text` is the offer, and behind it on a line of its own the code that came another way, if any.
pub(super) async fn obtain(
    declared: &Entitlement,
    text: &str,
    holder: Option<&Arc<dyn Signer>>,
    work: Work<'_>,
) -> Result<Secret, NotIssued> {
    let mut lines = text.lines().map(str::trim);
    let offer = read(declared, lines.next().unwrap_or_default(), work).await?;
    let code = lines.next().filter(|code| !code.is_empty());
    let places = Places::find(declared, work).await?;
    let grant = offer.grants.code.ok_or(UNLIKE)?;
    let configuration = offer.credential_configuration_ids.first().ok_or(UNLIKE)?;

    let pre_authorized = String::from_utf8_lossy(bytes(&grant.code.0));
    let mut fields = vec![
        ("grant_type", GRANT),
        ("pre-authorized_code", &*pre_authorized),
    ];
    fields.extend(code.map(|code| ("tx_code", code)));
    fields.extend(declared.client_id.as_deref().map(|id| ("client_id", id)));
    let reply = exchange::ask(work.outside, exchange::form(&places.token, &fields)).await?;
    if !reply.status.is_success() {
        return Err(exchange::refused(
            reply.status,
            "it does not take the code of the offer",
        ));
    }
    let granted: Granted = exchange::read(&reply)?;

    let proof = match holder {
        Some(holder) => Some(places.prove(declared, holder, work).await?),
        None => None,
    };
    let request = asking(&places, &granted, configuration, proof)?;
    let reply = exchange::ask(work.outside, request).await?;
    if !reply.status.is_success() {
        return Err(exchange::refused(
            reply.status,
            "it refused to issue the credential",
        ));
    }
    let issued: Issued = exchange::read(&reply)?;
    let first = issued.credentials.into_iter().next();
    first
        .map(|one| one.credential.0)
        .ok_or(NotIssued::Dead("it issued no credential"))
}

#[derive(Deserialize)]
struct Offer {
    credential_issuer: String,
    credential_configuration_ids: Vec<String>,
    #[serde(default)]
    grants: Grants,
}

#[derive(Deserialize, Default)]
struct Grants {
    #[serde(rename = "urn:ietf:params:oauth:grant-type:pre-authorized_code")]
    code: Option<PreAuthorized>,
}

#[derive(Deserialize)]
struct PreAuthorized {
    #[serde(rename = "pre-authorized_code")]
    code: Hidden,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Hidden,
    #[serde(default)]
    authorization_details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    credential_identifiers: Vec<String>,
}

#[derive(Deserialize)]
struct Nonce {
    c_nonce: String,
}

#[derive(Deserialize)]
struct Issued {
    #[serde(default)]
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
struct Credential {
    credential: Hidden,
}

/// Reads the offer, or fetches it from the issuer where it only says where it lies.
async fn read(declared: &Entitlement, text: &str, work: Work<'_>) -> Result<Offer, NotIssued> {
    let query = text.strip_prefix(SCHEME).ok_or(UNLIKE)?;
    let query = query.split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    let (name, value) = pairs.into_iter().next().ok_or(UNLIKE)?;
    let offer: Offer = match &*name {
        "credential_offer" => serde_json::from_str(&value).map_err(|_cause| UNLIKE)?,
        "credential_offer_uri" => {
            let at: Url = value.parse().map_err(|_cause| UNLIKE)?;
            let at = Some(at).filter(|at| at.origin == declared.authority.origin);
            let request = exchange::get(&at.ok_or(UNLIKE)?);
            exchange::read(&exchange::ask(work.outside, request).await?)?
        }
        _ => return Err(UNLIKE),
    };
    if offer.credential_issuer.trim_end_matches('/') != issuer(declared) {
        return Err(NotIssued::Dead("its offer is from another issuer"));
    }
    Ok(offer)
}

/// The identifier of the issuer, without a slash at the end.
fn issuer(declared: &Entitlement) -> String {
    declared
        .authority
        .to_string()
        .trim_end_matches('/')
        .to_owned()
}

/// Where the issuer is asked for what.
struct Places {
    token: Url,
    nonce: Option<Url>,
    credential: Url,
}

impl Places {
    async fn find(declared: &Entitlement, work: Work<'_>) -> Result<Self, NotIssued> {
        let about = metadata(
            declared,
            "openid-credential-issuer",
            "credential_issuer",
            work,
        )
        .await?;
        let other = about
            .get("authorization_servers")
            .and_then(|all| all.get(0)?.as_str());
        if other.is_some_and(|other| other.trim_end_matches('/') != issuer(declared)) {
            return Err(NotIssued::Dead("it leaves granting to another server"));
        }
        let server = match metadata(declared, "oauth-authorization-server", "issuer", work).await {
            Err(NotIssued::Dead(_)) => {
                metadata(declared, "openid-configuration", "issuer", work).await?
            }
            found => found?,
        };
        let place = |from: &Value, name: &str| {
            let url: Url = from.get(name)?.as_str()?.parse().ok()?;
            Some(url).filter(|url| url.origin == declared.authority.origin)
        };
        Ok(Self {
            token: place(&server, "token_endpoint").ok_or(UNLIKE)?,
            nonce: place(&about, "nonce_endpoint"),
            credential: place(&about, "credential_endpoint").ok_or(UNLIKE)?,
        })
    }

    /// Shows the issuer which key the credential is to be bound to.
    async fn prove(
        &self,
        declared: &Entitlement,
        holder: &Arc<dyn Signer>,
        work: Work<'_>,
    ) -> Result<String, NotIssued> {
        let mut claims = members(json!({
            "aud": issuer(declared), "iat": exchange::seconds(work.now),
        }));
        if let Some(place) = &self.nonce {
            let reply = exchange::ask(work.outside, exchange::form(place, &[])).await?;
            let Nonce { c_nonce } = exchange::read(&reply)?;
            claims.insert("nonce".to_owned(), c_nonce.into());
        }
        let key = Jwk::of(&**holder)?.members();
        let header = members(json!({ "typ": "openid4vci-proof+jwt", "jwk": key }));
        Ok(jose::jwt(holder, header, &claims)?)
    }
}

/// A metadata document, which has to say that it is this issuer's.
async fn metadata(
    declared: &Entitlement,
    name: &str,
    identifier: &str,
    work: Work<'_>,
) -> Result<Value, NotIssued> {
    let at = &declared.authority;
    let path = at.target.trim_end_matches('/');
    let at = Url {
        origin: at.origin.clone(),
        target: format!("/.well-known/{name}{path}"),
    };
    let reply = exchange::ask(work.outside, exchange::get(&at)).await?;
    if !reply.status.is_success() {
        return Err(exchange::refused(reply.status, "it has no such metadata"));
    }
    let found: Value = exchange::read(&reply)?;
    let whose = found
        .get(identifier)
        .and_then(Value::as_str)
        .unwrap_or_default();
    if whose.trim_end_matches('/') != issuer(declared) {
        return Err(NotIssued::Dead("its metadata is that of another issuer"));
    }
    Ok(found)
}

fn asking(
    places: &Places,
    granted: &Granted,
    configuration: &str,
    proof: Option<String>,
) -> Result<OwnRequest, NotIssued> {
    let named = granted.authorization_details.first();
    let named = named.and_then(|detail| detail.credential_identifiers.first());
    let mut body = match named {
        Some(identifier) => members(json!({ "credential_identifier": identifier })),
        None => members(json!({ "credential_configuration_id": configuration })),
    };
    if let Some(proof) = proof {
        body.insert("proofs".to_owned(), json!({ "jwt": [proof] }));
    }
    let mut request = exchange::get(&places.credential);
    request.method = Method::POST;
    request.body = Secret::new(Value::Object(body).to_string().into_bytes());
    let json = HeaderValue::from_static("application/json");
    request.headers.insert(CONTENT_TYPE, json);
    let bearer = Secret::new([b"Bearer ", bytes(&granted.access_token.0)].concat());
    let bearer = inject::sensitive(&bearer).ok_or(UNLIKE)?;
    request.headers.insert(AUTHORIZATION, bearer);
    Ok(request)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the code and the token go to the issuer that they are from"
)]
fn bytes(secret: &Secret) -> &[u8] {
    secret.open()
}
