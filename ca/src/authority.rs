//! Leaves on demand: one key, one certificate per host, kept in a bounded cache.
//!
//! It signs for whatever host it is asked for; whether a host may be inspected is decided before. A certificate never
//! outlives the root. Minting happens outside the lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exeat_types::{Clock, Host, Timestamp, limits::LEAF_CACHE_MAX};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType,
};
use rustls::{
    ServerConfig,
    crypto::ring::{default_provider, sign::any_ecdsa_type},
    server::{NoServerSessionStorage, ResolvesServerCertUsingSni},
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    Error, Root,
    key::{self, Pair},
    root::{backdated, date, serial},
};

/// How long a leaf is valid.
const LEAF_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A leaf with less than this left is made anew.
const RENEW_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest common name (RFC 5280 appendix A, ub-common-name); longer hosts stand in the SAN alone.
const COMMON_NAME_MAX: usize = 64;

/// Mints leaves under one root at a time.
pub struct Authority {
    clock: Arc<dyn Clock>,
    pair: Pair,
    tls_key: Arc<dyn SigningKey>,
    template: ServerConfig,
    cache: Mutex<Cache>,
}

impl Authority {
    /// Starts with a fresh leaf key and an empty cache.
    ///
    /// # Errors
    /// When no key can be generated or TLS cannot be set up.
    pub fn new(root: Arc<Root>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (pair, secret) = Pair::generate()?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key::bytes(&secret));
        let tls_key = any_ecdsa_type(&PrivateKeyDer::Pkcs8(pkcs8)).map_err(Error::Tls)?;
        let cache = Mutex::new(Cache::new(root, LEAF_CACHE_MAX));
        Ok(Self {
            clock,
            pair,
            tls_key,
            template: template()?,
            cache,
        })
    }

    /// The root that signs.
    pub fn root(&self) -> Arc<Root> {
        Arc::clone(&self.lock().root)
    }

    /// Signs with another root from here on, and forgets every leaf of the one before. Connections that stand go on.
    pub fn replace_root(&self, root: Arc<Root>) {
        *self.lock() = Cache::new(root, LEAF_CACHE_MAX);
    }

    /// The TLS settings for a server that is this host: its certificate, TLS 1.2 and 1.3, ALPN h2 and http/1.1.
    ///
    /// # Errors
    /// When the root has expired or the certificate cannot be made.
    pub fn server_config(&self, host: &Host) -> Result<Arc<ServerConfig>, Error> {
        let now = self.clock.now();
        let root = {
            let mut cache = self.lock();
            if let Some(config) = cache.find(host, now) {
                return Ok(config);
            }
            Arc::clone(&cache.root)
        };
        let leaf = self.mint(&root, host, now)?;
        let config = Arc::clone(&leaf.config);
        let mut cache = self.lock();
        // A leaf of a root that was replaced meanwhile serves this one connection.
        if Arc::ptr_eq(&cache.root, &root) {
            cache.keep(host.clone(), leaf);
        }
        Ok(config)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mint(&self, root: &Root, host: &Host, now: Timestamp) -> Result<Leaf, Error> {
        let end = root.not_after();
        if now >= end {
            return Err(Error::RootExpired { at: end });
        }
        let not_after = now.after(LEAF_LIFE).min(end);
        let not_before = backdated(now).max(root.not_before());
        let der = self.certificate(root, host, (not_before, not_after))?;
        let chain = vec![der, root.certificate_der().clone()];
        let certified = CertifiedKey::new(chain, Arc::clone(&self.tls_key));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        // A leaf that ends with the root cannot be renewed, so it is used to its end.
        let renew = if not_after == end {
            end
        } else {
            now.after(LEAF_LIFE - RENEW_BEFORE)
        };
        Ok(Leaf {
            config: Arc::new(config),
            renew,
        })
    }

    fn certificate(
        &self,
        root: &Root,
        host: &Host,
        (not_before, not_after): (Timestamp, Timestamp),
    ) -> Result<CertificateDer<'static>, Error> {
        let failed = |source| Error::Leaf {
            host: host.clone(),
            source,
        };
        let (text, san) = match host {
            Host::Name(name) => {
                let ascii = name.as_ref().try_into().map_err(failed)?;
                (name.to_string(), SanType::DnsName(ascii))
            }
            Host::Ip(address) => (address.to_string(), SanType::IpAddress(*address)),
        };
        let mut params = CertificateParams::default();
        params.not_before = date(not_before)?;
        params.not_after = date(not_after)?;
        params.serial_number = Some(serial()?);
        params.subject_alt_names = vec![san];
        params.distinguished_name = DistinguishedName::new();
        if text.len() <= COMMON_NAME_MAX {
            params.distinguished_name.push(DnType::CommonName, text);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(root.sign(&params, &self.pair).map_err(failed)?.into())
    }
}

/// What the settings of all hosts share: versions, ALPN and one ticket key, so that a session resumes on any of them
/// for which the client asks again (rustls holds a ticket to its server name, RFC 6066 section 3).
fn template() -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::Tls)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    renew: Timestamp,
}

/// The root in use and its most recently used leaves, in two generations: when the young one is full it becomes the old one, and what was
/// not asked for since is dropped. INVARIANT: never more than `max` leaves.
struct Cache {
    root: Arc<Root>,
    max: usize,
    young: HashMap<Host, Leaf>,
    old: HashMap<Host, Leaf>,
}

impl Cache {
    fn new(root: Arc<Root>, max: usize) -> Self {
        Self {
            root,
            max,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    fn find(&mut self, host: &Host, now: Timestamp) -> Option<Arc<ServerConfig>> {
        if let Some(leaf) = self.young.get(host) {
            return (now < leaf.renew).then(|| Arc::clone(&leaf.config));
        }
        let leaf = self.old.remove(host).filter(|leaf| now < leaf.renew)?;
        let config = Arc::clone(&leaf.config);
        self.keep(host.clone(), leaf);
        Some(config)
    }

    fn keep(&mut self, host: Host, leaf: Leaf) {
        self.old.remove(&host);
        if self.young.len() >= (self.max / 2).max(1) && !self.young.contains_key(&host) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(host, leaf);
    }
}

#[cfg(test)]
mod tests;
