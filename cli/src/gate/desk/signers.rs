//! Signers for the operator: what there is, public keys, and new keys.

use std::sync::Arc;

use anyhow::Context as _;
use exeat_custody::{
    SignerKind,
    jose::Jwk,
    signer::{public_pem, public_ssh},
};
use exeat_types::{Algorithm, Signer};
use serde_json::Value;

use super::super::state::State;
use crate::{
    settings::Settings,
    socket::{Failure, SignerEntry},
};

/// Every signer of the configuration as it is now. Blocks.
pub(super) fn list(state: &State) -> Result<Vec<SignerEntry>, Failure> {
    let settings = current(state)?;
    let entries = state.reaching(&settings, |with| {
        let signers = settings.signers.iter();
        signers
            .map(|(name, kind)| entry(name, kind, state.signers().one(name, kind, with)))
            .collect()
    })?;
    Ok(entries)
}

/// Makes the key of a signer; one that lies in no device is sealed in the vault. Blocks.
pub(super) fn create(state: &State, name: &str, algorithm: &str) -> Result<SignerEntry, Failure> {
    let settings = current(state)?;
    let kind = settings.signers.get(name).ok_or_else(|| {
        Failure::new(format!("there is no signer `{name}` in the configuration"))
            .help(format!("declare it as `[signers.{name}]`"))
    })?;
    let algorithm = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256]
        .into_iter()
        .find(|known| known.name() == algorithm)
        .ok_or_else(|| Failure::new(format!("no signer signs with `{algorithm}`")))?;
    let made = state.reaching(&settings, |with| {
        state.signers().create(name, kind, with, algorithm)
    })??;
    if let Some((sealed, key)) = &made.keep {
        let now = state.clock().now();
        let kept = state.vault().set(sealed, key, now);
        kept.context("sealing the key")?;
    }
    Ok(entry(name, kind, Ok(made.signer)))
}

/// The configuration as it is in its file, so that a signer that was just declared is known.
fn current(state: &State) -> Result<Settings, Failure> {
    let settings = state
        .settings()
        .context("no configuration names a signer")?;
    let fresh = settings.reload().map_err(anyhow::Error::new)?;
    Ok(fresh)
}

fn entry(
    name: &str,
    kind: &Arc<dyn SignerKind>,
    opened: anyhow::Result<Arc<dyn Signer>>,
) -> SignerEntry {
    let (signer, problem) = match opened {
        Ok(signer) => (Some(signer), None),
        Err(problem) => (None, Some(format!("{problem:#}"))),
    };
    let signer = signer.as_deref();
    let jwk = signer.and_then(|signer| Jwk::of(signer).ok());
    SignerEntry {
        name: name.to_owned(),
        kind: kind.word().to_owned(),
        algorithm: signer.map(|signer| signer.algorithm().name().to_owned()),
        pem: signer.map(public_pem),
        ssh: signer.map(public_ssh),
        jwk: jwk.map(|jwk| Value::Object(jwk.members())),
        problem,
    }
}
