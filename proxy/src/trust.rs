//! What upstream certificates must chain to, after a reload changed it. Pingora reads one file of roots when it starts;
//! from the first change on, every new connection is given the roots in force. Nothing here widens: a set that cannot be
//! read trusts nobody.
//!
//! And which certificate the gate itself shows, where a credential is one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exeat_pipeline::{ClientIdentity, Roots, held_certificate};
use exeat_types::{Digest, Reason};
use pingora::{
    protocols::tls::CaType,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use rustls::{RootCertStore, pki_types::CertificateDer};

/// How many client certificates are kept in Pingora's form.
const CERTIFICATES_MAX: usize = 64;

/// The roots that Pingora started with, and those that came last; and the client certificates that upstreams are shown.
pub(crate) struct Trust {
    started: u64,
    latest: Mutex<Option<(u64, Arc<CaType>)>>,
    shown: Mutex<HashMap<Digest, Arc<CertKey>>>,
}

impl Trust {
    /// Begins with the set that lies in Pingora's file.
    pub(crate) fn new(started: u64) -> Self {
        Self {
            started,
            latest: Mutex::new(None),
            shown: Mutex::new(HashMap::new()),
        }
    }

    /// A client certificate as Pingora takes it.
    ///
    /// # Errors
    /// When its key is in a device, or it cannot be read: Pingora would end the process.
    pub(crate) fn certificate(&self, identity: &ClientIdentity) -> Result<Arc<CertKey>, Reason> {
        let id = identity.id();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shown.get(&id) {
            return Ok(Arc::clone(known));
        }
        let (chain, key) = held_certificate(identity).ok_or(Reason::Internal)?;
        let reads = |der: &Vec<u8>| x509_parser::parse_x509_certificate(der).is_ok();
        if chain.is_empty() || !chain.iter().all(reads) {
            return Err(Reason::CredentialDead);
        }
        if shown.len() >= CERTIFICATES_MAX {
            shown.clear();
        }
        let made = Arc::new(CertKey::new(chain, key));
        shown.insert(id, Arc::clone(&made));
        Ok(made)
    }

    /// What a peer is given for these roots; nothing when Pingora knows them already.
    ///
    /// # Errors
    /// When there is no usable certificate among them.
    pub(crate) fn of(&self, roots: &Roots) -> Result<Option<Arc<CaType>>, Reason> {
        if roots.id == self.started {
            return Ok(None);
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, known)) = &*latest
            && *id == roots.id
        {
            return Ok(Some(Arc::clone(known)));
        }
        let usable = roots.certificates.iter().filter(|der| is_usable(der));
        let read: Vec<WrappedX509> = usable
            .map(|der| WrappedX509::new(der.clone(), parse_x509))
            .collect();
        if read.is_empty() {
            tracing::error!("there is no usable upstream root");
            return Err(Reason::UpstreamUnreachable);
        }
        let read: Arc<CaType> = read.into();
        *latest = Some((roots.id, Arc::clone(&read)));
        Ok(Some(read))
    }
}

/// Whether Pingora can use a root: one that it cannot would fail every connection, or end the process.
fn is_usable(der: &[u8]) -> bool {
    let mut store = RootCertStore::empty();
    x509_parser::parse_x509_certificate(der).is_ok()
        && store.add(CertificateDer::from(der.to_vec())).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exeat_ca::Root;
    use exeat_types::{Clock as _, SystemClock};

    use super::*;

    fn roots(id: u64, certificates: &[Vec<u8>]) -> Roots {
        Roots {
            id,
            certificates: certificates.into(),
        }
    }

    #[test]
    fn roots_that_changed_are_given_once_read_and_broken_ones_trust_nobody() {
        let now = SystemClock::new().now();
        let root = Root::generate("a root", now, Duration::from_secs(60)).unwrap();
        let good = root.certificate_der().to_vec();
        let trust = Trust::new(1);
        assert!(trust.of(&roots(1, &[])).unwrap().is_none());
        let second = roots(2, &[b"no certificate".to_vec(), good]);
        let first = trust.of(&second).unwrap().unwrap();
        assert_eq!(first.len(), 1);
        assert!(Arc::ptr_eq(&first, &trust.of(&second).unwrap().unwrap()));
        for broken in [roots(3, &[]), roots(4, &[b"no certificate".to_vec()])] {
            assert_eq!(trust.of(&broken).err(), Some(Reason::UpstreamUnreachable));
        }
    }
}
