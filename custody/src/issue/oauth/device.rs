//! A person types a code on any device while the gate asks again and again (RFC 8628).

use std::time::Duration;

use oauth2::{Scope, StandardDeviceAuthorizationResponse};

use super::{
    client::{Client, lacking},
    metadata::Metadata,
    reply::{TokenReply, refusal},
    wire::Wire,
};
use crate::{NotIssued, Url};

/// The longest that is waited for a person.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The shortest and the longest pause between two questions.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest code that is shown.
const CODE_BYTES_MAX: usize = 64;

impl Client {
    /// Asks for a code to type.
    pub(super) async fn code(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        scopes: &[String],
    ) -> Result<StandardDeviceAuthorizationResponse, NotIssued> {
        let engine = self.engine(at)?;
        let mut request = engine.exchange_device_code().map_err(lacking)?;
        request = request.add_scopes(scopes.iter().cloned().map(Scope::new));
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        let given = request.request_async(wire).await;
        let given: StandardDeviceAuthorizationResponse = given.map_err(|error| refusal(&error))?;
        let shown = |byte: u8| (0x20..0x7f).contains(&byte);
        let code = given.user_code().secret();
        let page = given.verification_uri().as_str().parse::<Url>();
        if code.len() > CODE_BYTES_MAX || !code.bytes().all(shown) || page.is_err() {
            return Err(NotIssued::Unavailable(
                "it gave a code that cannot be shown",
            ));
        }
        if given.interval() > PATIENCE {
            return Err(NotIssued::Unavailable("it wants to be asked too seldom"));
        }
        Ok(given)
    }

    /// Asks for the token until the person has agreed, each time as late as the server wants (section 3.5).
    pub(super) async fn polled(
        &self,
        at: &Metadata,
        wire: &Wire<'_>,
        given: &StandardDeviceAuthorizationResponse,
    ) -> Result<TokenReply, NotIssued> {
        let engine = self.engine(at)?;
        let request = engine.exchange_device_access_token(given);
        let mut request = request.map_err(lacking)?;
        for (name, value) in self.spec.targets() {
            request = request.add_extra_param(name, value);
        }
        let within = within(given);
        let ends = wire.now().after(within);
        let pause = |time: Duration| {
            let left = ends.since(wire.now());
            wire.pause(time.clamp(PAUSE_MIN, PAUSE_MAX).min(left))
        };
        let reply = request.request_async(wire, pause, Some(within));
        reply.await.map_err(|error| refusal(&error))
    }
}

/// How long the person has.
pub(super) fn within(given: &StandardDeviceAuthorizationResponse) -> Duration {
    given.expires_in().min(PATIENCE)
}
