//! Asks a server about a token (RFC 7662).

use oauth2::{
    AccessToken, ExtraTokenFields, StandardTokenIntrospectionResponse,
    TokenIntrospectionResponse as _, basic::BasicTokenType,
};
use serde::{Deserialize, Serialize};

use super::{
    client::{Client, lacking},
    metadata::Metadata,
    reply::refusal,
    revoke::Held,
    wire::Wire,
};
use crate::{NotIssued, Standing};

/// The answer, with what binds the token.
pub(super) type Introspected = StandardTokenIntrospectionResponse<Bound, BasicTokenType>;

/// What a token is bound to (RFC 7800).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Bound {
    cnf: Option<Confirmation>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Confirmation {
    jkt: Option<String>,
    #[serde(rename = "x5t#S256")]
    certificate: Option<String>,
}

impl ExtraTokenFields for Bound {}

impl Client {
    /// What the server says of a token.
    pub(super) async fn introspect(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        token: Held,
    ) -> Result<Standing, NotIssued> {
        let engine = self.engine(at)?;
        let (token, hint) = match token {
            Held::Refresh(token) => (AccessToken::new(token), "refresh_token"),
            Held::Access(token) => (AccessToken::new(token), "access_token"),
        };
        let mut request = engine.introspect(&token).map_err(lacking)?;
        request = request.set_token_type_hint(hint);
        let read = request.request_async(wire).await;
        let read = read.map_err(|error| refusal(&error))?;
        let scopes = read.scopes().map(Vec::as_slice).unwrap_or_default();
        let bound = read.extra_fields().cnf.clone().unwrap_or_default();
        Ok(Standing {
            active: read.active(),
            scopes: scopes
                .iter()
                .map(|scope| scope.as_str().to_owned())
                .collect(),
            expires_secs: read.exp().map(|exp| exp.timestamp()),
            bound_to: bound.jkt.or(bound.certificate),
        })
    }
}
