//! Carries notices for the console: puts secrets in, sends over the gate's own way out, keeps what Web Push needs.

use std::sync::Arc;

use async_trait::async_trait;
use exeat_console::{Carrier, Letter, SecretIn, Subscription, Undelivered};
use exeat_custody::{
    NoReply, Outside as _, SecretRef,
    notice::{self, Notice, Place},
};
use exeat_types::{Secret, Signer};
use http::StatusCode;

use super::state::State;

/// The way of notices out of the gate.
pub(super) struct NoticeCarrier(pub(super) Arc<State>);

impl NoticeCarrier {
    async fn off<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Arc<State>) -> Result<T, Undelivered> + Send + 'static,
    ) -> Result<T, Undelivered> {
        let state = Arc::clone(&self.0);
        let acted = tokio::task::spawn_blocking(move || act(&state)).await;
        acted.unwrap_or(Err(Undelivered::NotKept))
    }

    async fn secret(&self, reference: String) -> Result<Secret, Undelivered> {
        self.off(move |state| {
            let reference: SecretRef = reference.parse().map_err(|_cause| Undelivered::NoSecret)?;
            let settings = state.settings().ok_or(Undelivered::NoSecret)?;
            let resolved = state.reaching(&settings, |with| reference.resolve(with.stores));
            match resolved {
                Ok(Ok((secret, _version))) => Ok(secret),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the secret of a notice is not to be had");
                    Err(Undelivered::NoSecret)
                }
                Err(error) => {
                    tracing::warn!(%error, "the secret of a notice is not to be had");
                    Err(Undelivered::NoSecret)
                }
            }
        })
        .await
    }
}

#[async_trait]
impl Carrier for NoticeCarrier {
    async fn post(&self, letter: Letter) -> Result<StatusCode, Undelivered> {
        let (reference, place) = match letter.secret {
            None => (None, Place::Token),
            Some(SecretIn::Token(reference)) => (Some(reference), Place::Token),
            Some(SecretIn::Target(reference)) => (Some(reference), Place::Target),
        };
        let secret = match reference {
            Some(reference) => Some(self.secret(reference).await?),
            None => None,
        };
        let notice = Notice {
            origin: letter.origin,
            target: letter.target,
            headers: letter.headers,
            body: letter.body.to_vec(),
        };
        let request = notice.request(secret.as_ref().map(|secret| (secret, place)));
        let request = request.map_err(|_cause| Undelivered::NoSecret)?;
        match self.0.outbound().send(request).await {
            Ok(reply) => Ok(reply.status),
            Err(NoReply::Forbidden) => Err(Undelivered::Unfit),
            Err(problem) => Err(Undelivered::Unreached(problem.to_string())),
        }
    }

    async fn signer(&self) -> Result<Arc<dyn Signer>, Undelivered> {
        self.off(|state| match notice::push_signer(&*state.notes()) {
            Ok(signer) => Ok(Arc::new(signer) as Arc<dyn Signer>),
            Err(error) => Err(not_kept(&error)),
        })
        .await
    }

    async fn subscriptions(&self) -> Result<Vec<Subscription>, Undelivered> {
        self.off(|state| {
            let kept = notice::browsers(&*state.notes()).map_err(|error| not_kept(&error))?;
            let Some(kept) = kept else {
                return Ok(Vec::new());
            };
            serde_json::from_value(kept).map_err(|_cause| Undelivered::NotKept)
        })
        .await
    }

    async fn keep(&self, subscriptions: Vec<Subscription>) -> Result<(), Undelivered> {
        self.off(move |state| {
            let list = serde_json::to_value(subscriptions);
            let list = list.map_err(|_cause| Undelivered::NotKept)?;
            notice::keep_browsers(&*state.notes(), &list).map_err(|error| not_kept(&error))
        })
        .await
    }
}

fn not_kept(error: &exeat_custody::Error) -> Undelivered {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "the vault could not be used for a notice"
    );
    Undelivered::NotKept
}
