//! The keys that may approve, as the records have them. The first is enrolled by who owns the machine; every later one,
//! and every removal, is signed by a key that was there before. Whoever has a key signs for every further one themselves:
//! nobody else can add a key in their name.
//!
//! INVARIANT: a key comes and goes only through [`Keys::apply`]. The gate and a verifier far away run the same code here.

use std::collections::{BTreeMap, BTreeSet};

use exeat_types::{Digest, Timestamp};

use super::{
    Assertion, Nonce, Relying, Vouch,
    assertion::{self, Verified},
    key::PublicKey,
    wrong,
};
use crate::{Error, approval::Enrolment};

/// A key that may approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledKey {
    /// Whose it is.
    pub user: String,
    /// What people call the device.
    pub device: Option<String>,
    /// The key.
    pub public_key: PublicKey,
    /// Whom it signs for.
    pub relying: Relying,
    /// Since when.
    pub since: Timestamp,
    /// The key that vouched for it; the first has none.
    pub vouched_by: Option<String>,
}

/// The keys that may approve, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    rows: BTreeMap<String, EnrolledKey>,
    /// Ids that were taken away; they never come back.
    gone: BTreeSet<String>,
    /// Nonces of everything that was signed so far.
    nonces: BTreeSet<Nonce>,
}

/// Who vouches for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vouched<'a> {
    /// Nobody can: it is the first key.
    First,
    /// This key.
    By(&'a str),
}

impl Keys {
    /// One key.
    pub fn key(&self, id: &str) -> Option<&EnrolledKey> {
        self.rows.get(id)
    }

    /// Every key with its id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &EnrolledKey)> {
        self.rows.iter().map(|(id, key)| (id.as_str(), key))
    }

    /// Whether somebody has a key.
    pub fn has_key(&self, user: &str) -> bool {
        self.rows.values().any(|key| key.user == user)
    }

    /// Whether no key was ever enrolled: only then nobody has to vouch.
    pub fn never_any(&self) -> bool {
        self.rows.is_empty() && self.gone.is_empty()
    }

    /// Takes a change in, or refuses it and stays as it was.
    ///
    /// # Errors
    /// When nobody who may vouched for it, or it does not fit what is there.
    pub fn apply(&mut self, enrolment: &Enrolment, at: Timestamp) -> Result<(), Error> {
        if enrolment.rp_id.is_none() && enrolment.vouched.is_none() {
            // Of earlier versions: nobody can say what such a key signs, so it approves nothing.
            return Ok(());
        }
        match self.check_change(enrolment)? {
            Vouched::First => self.enrol(enrolment, at, None),
            Vouched::By(voucher) => {
                let voucher = voucher.to_owned();
                let nonce = nonce_of(enrolment)?;
                match enrolment.public_key {
                    Some(_) => self.enrol(enrolment, at, Some(voucher))?,
                    None => self.remove(&enrolment.key)?,
                }
                self.spend(nonce)
            }
        }
    }

    /// Checks a change without making it, and says who vouches for it.
    ///
    /// # Errors
    /// When nobody who may vouched for it.
    pub fn check_change<'a>(&self, enrolment: &'a Enrolment) -> Result<Vouched<'a>, Error> {
        let Some(vote) = enrolment.vouched.as_deref() else {
            return if self.never_any() && enrolment.public_key.is_some() {
                Ok(Vouched::First)
            } else {
                Err(wrong("no key vouched for it"))
            };
        };
        let signed = vote
            .assertion
            .as_ref()
            .ok_or_else(|| wrong("no key vouched for it"))?;
        let nonce = nonce_of(enrolment)?;
        if self.nonces.contains(&nonce) {
            return Err(wrong("its nonce was used before"));
        }
        let vouch = Vouch { enrolment, nonce };
        let (voucher, _) = self.check(signed, &vouch.digest())?;
        if voucher.user != vote.user {
            return Err(wrong("the key that vouched is somebody else's"));
        }
        // SECURITY: else one person could make a key in the name of another, and answer as both.
        let adds = enrolment.public_key.is_some();
        if adds && voucher.user != enrolment.user && self.has_key(&enrolment.user) {
            return Err(wrong(
                "only a person's own key can add another one of theirs",
            ));
        }
        Ok(Vouched::By(&signed.key))
    }

    /// Checks that one of these keys signed a challenge.
    ///
    /// # Errors
    /// When the key is not enrolled, or what it signed does not hold.
    pub fn check(
        &self,
        signed: &Assertion,
        challenge: &Digest,
    ) -> Result<(&EnrolledKey, Verified), Error> {
        let key = self
            .rows
            .get(&signed.key)
            .ok_or_else(|| wrong("the key is not enrolled"))?;
        let verified = assertion::verify(&key.public_key, signed, challenge, &key.relying)?;
        Ok((key, verified))
    }

    /// Uses a nonce up.
    ///
    /// # Errors
    /// When it was used before.
    pub fn spend(&mut self, nonce: Nonce) -> Result<(), Error> {
        if self.nonces.insert(nonce) {
            Ok(())
        } else {
            Err(wrong("its nonce was used before"))
        }
    }

    fn enrol(
        &mut self,
        enrolment: &Enrolment,
        since: Timestamp,
        vouched_by: Option<String>,
    ) -> Result<(), Error> {
        let lacks = || wrong("the record of a key lacks what a verifier needs");
        let public_key = enrolment.public_key.as_deref().ok_or_else(lacks)?;
        let relying = Relying {
            rp_id: enrolment.rp_id.clone().ok_or_else(lacks)?,
            origin: enrolment.origin.clone().ok_or_else(lacks)?,
        };
        if self.rows.contains_key(&enrolment.key) || self.gone.contains(&enrolment.key) {
            return Err(wrong("the key was enrolled before"));
        }
        if self.rows.values().any(|known| known.relying != relying) {
            return Err(wrong("the other keys belong to another origin"));
        }
        let fresh = EnrolledKey {
            user: enrolment.user.clone(),
            device: enrolment.device.clone(),
            public_key: PublicKey::parse(public_key)?,
            relying,
            since,
            vouched_by,
        };
        self.rows.insert(enrolment.key.clone(), fresh);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), Error> {
        if self.rows.len() == 1 {
            return Err(wrong("the last key stays: nobody could approve anything"));
        }
        let removed = self.rows.remove(key);
        removed.ok_or_else(|| wrong("the key is not enrolled"))?;
        self.gone.insert(key.to_owned());
        Ok(())
    }
}

fn nonce_of(enrolment: &Enrolment) -> Result<Nonce, Error> {
    let nonce = enrolment
        .vouched
        .as_deref()
        .and_then(|v| v.nonce.as_deref());
    let nonce = nonce.and_then(|nonce| nonce.parse().ok());
    nonce.ok_or_else(|| wrong("it has no nonce"))
}
