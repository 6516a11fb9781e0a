//! The signers of the configuration: each is opened once, kept as long as its declaration stays the same, and opened again
//! only while it could not be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use exeat_custody::{
    Devices, Error, NewKey, Opening, Outside, SecretRef, SignerKind, Stores, thumbprint,
};
use exeat_types::{Algorithm, Clock, Secret, Signer};

use crate::settings::Settings;

/// What is open, by name.
#[derive(Default)]
pub(crate) struct Signers {
    known: Mutex<BTreeMap<String, Known>>,
    devices: Devices,
}

/// One signer, and how it was declared when it was opened.
struct Known {
    declared: String,
    /// Absent when it could not be opened in a way that trying again would make worse.
    signer: Option<Arc<dyn Signer>>,
}

/// What opening takes from the gate.
pub(super) struct Surroundings<'a> {
    pub(super) stores: &'a Stores<'a>,
    pub(super) outside: &'a Arc<dyn Outside>,
    /// Tells keys and PINs apart.
    pub(super) telling: &'a Secret,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) folder: &'a std::path::Path,
}

impl Signers {
    /// Every signer that can be had. One that cannot is absent: its calls are refused, others work.
    pub(super) fn open(
        &self,
        settings: &Settings,
        with: &Surroundings<'_>,
    ) -> BTreeMap<String, Arc<dyn Signer>> {
        let mut known = self.known();
        known.retain(|name, _| settings.signers.contains_key(name));
        for (name, kind) in &settings.signers {
            let opened = self.opened(name, kind, with, &mut known);
            if let Err(error) = opened {
                tracing::warn!(
                    signer = %name, problem = format!("{error:#}"),
                    "a signer cannot be used; calls that need it are refused"
                );
            }
        }
        let open = known.iter();
        open.filter_map(|(name, known)| Some((name.clone(), Arc::clone(known.signer.as_ref()?))))
            .collect()
    }

    /// Opens one signer, if it is not.
    pub(super) fn one(
        &self,
        name: &str,
        kind: &Arc<dyn SignerKind>,
        with: &Surroundings<'_>,
    ) -> anyhow::Result<Arc<dyn Signer>> {
        let mut known = self.known();
        self.opened(name, kind, with, &mut known)
    }

    /// Makes the key of a signer.
    pub(super) fn create(
        &self,
        name: &str,
        kind: &Arc<dyn SignerKind>,
        with: &Surroundings<'_>,
        algorithm: Algorithm,
    ) -> anyhow::Result<NewKey> {
        let mut secrets = Vec::new();
        for reference in kind.secrets() {
            match reference.resolve_unsent(with.stores) {
                Ok((secret, _)) => secrets.push(secret),
                // Where the key itself is to be sealed there is nothing yet.
                Err(Error::SecretAbsent { .. } | Error::SecretRevoked { .. })
                    if matches!(reference, SecretRef::Sealed(_)) => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        let made = kind.create(&self.opening(name, &secrets, with), algorithm)?;
        self.known().remove(name);
        Ok(made)
    }

    fn opened(
        &self,
        name: &str,
        kind: &Arc<dyn SignerKind>,
        with: &Surroundings<'_>,
        known: &mut BTreeMap<String, Known>,
    ) -> anyhow::Result<Arc<dyn Signer>> {
        let resolve = |reference: &SecretRef| reference.resolve_unsent(with.stores);
        let references = kind.secrets().into_iter();
        let resolved: Vec<(Secret, u32)> = references
            .map(resolve)
            .collect::<Result<_, _>>()
            .inspect_err(|_| drop(known.remove(name)))?;
        // Not every store has versions.
        let same = |(secret, _): &(Secret, u32)| thumbprint(with.telling, secret);
        let secrets: Vec<Arc<str>> = resolved.iter().map(same).collect();
        let declared = format!("{kind:?} {secrets:?}");
        if let Some(same) = known.get(name).filter(|known| known.declared == declared) {
            let shut = "its device refused the PIN, which is not tried again until it is changed";
            return same.signer.clone().context(shut);
        }
        let secrets: Vec<Secret> = resolved.into_iter().map(|(secret, _)| secret).collect();
        let opened = kind.open(&self.opening(name, &secrets, with));
        let signer = match &opened {
            Ok(signer) => Some(Arc::clone(signer)),
            Err(Error::WrongPin { .. }) => None,
            Err(_may_pass) => {
                known.remove(name);
                return Ok(opened?);
            }
        };
        known.insert(name.to_owned(), Known { declared, signer });
        Ok(opened?)
    }

    fn opening<'a>(
        &'a self,
        name: &'a str,
        secrets: &'a [Secret],
        with: &'a Surroundings<'_>,
    ) -> Opening<'a> {
        Opening {
            name,
            secrets,
            outside: Some(with.outside),
            clock: with.clock,
            folder: with.folder,
            devices: &self.devices,
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
