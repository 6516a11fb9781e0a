//! Where calls may go: names become addresses here, after policy has spoken, and only classified addresses are dialled.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_policy::address;
use exeat_types::{Clock, Host, Origin, Reason, limits};

/// The operator's word on the network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Hosts and ports that may resolve to addresses which are not public.
    pub allow_private: BTreeSet<(Host, u16)>,
    /// Fixed addresses for some hosts and ports.
    pub connect_to: BTreeMap<(Host, u16), SocketAddr>,
    /// Ports of the gate's own listeners, refused on every local address.
    pub own_ports: BTreeSet<u16>,
    /// Which set of upstream roots is in force; a pooled connection is reused only under the same set.
    pub roots_id: u64,
}

/// An upstream whose addresses were classified.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where the call goes.
    pub origin: Origin,
    /// The address that was judged, and will be dialled.
    pub address: SocketAddr,
    /// Connections are shared only within one group: agent, credential and trust are part of it.
    pub group: u64,
}

/// How long a judged answer is reused.
const ANSWER_TTL: Duration = Duration::from_secs(10);
/// How many answers are kept.
const ANSWERS_MAX: usize = 1024;

/// Answers and until when each is good.
type Answers = HashMap<(Host, u16), (Duration, Arc<[SocketAddr]>)>;

/// Resolves names and remembers answers for a moment.
pub(crate) struct Resolver {
    answers: Mutex<Answers>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self {
            answers: Mutex::new(HashMap::new()),
        }
    }

    /// Finds an address for the origin that may be dialled.
    ///
    /// # Errors
    /// `target-forbidden` when any of the addresses is one no agent may reach, `upstream-unreachable` when there is none.
    pub(crate) async fn locate(
        &self,
        network: &Network,
        origin: &Origin,
        clock: &dyn Clock,
    ) -> Result<SocketAddr, Reason> {
        let target = (origin.host.clone(), origin.port);
        let addresses = self.addresses(network, &target, clock).await?;
        judge(network, &target, &addresses)?;
        addresses
            .first()
            .copied()
            .ok_or(Reason::UpstreamUnreachable)
    }

    async fn addresses(
        &self,
        network: &Network,
        target: &(Host, u16),
        clock: &dyn Clock,
    ) -> Result<Arc<[SocketAddr]>, Reason> {
        if let Some(fixed) = network.connect_to.get(target) {
            return Ok([*fixed].into());
        }
        let name = match &target.0 {
            Host::Ip(address) => return Ok([SocketAddr::new(*address, target.1)].into()),
            Host::Name(name) => Arc::clone(name),
        };
        let now = clock.monotonic();
        let known = self
            .lock()
            .get(target)
            .filter(|(until, _)| *until > now)
            .cloned();
        if let Some((_, addresses)) = known {
            return Ok(addresses);
        }
        let asked = tokio::net::lookup_host((&*name, target.1));
        let answered = tokio::time::timeout(limits::RESOLVE_TIMEOUT, asked).await;
        let Ok(Ok(found)) = answered else {
            return Err(Reason::UpstreamUnreachable);
        };
        let addresses: Arc<[SocketAddr]> = found.collect();
        let mut answers = self.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(target.clone(), (now + ANSWER_TTL, Arc::clone(&addresses)));
        Ok(addresses)
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All or nothing: one bad address among the answers refuses the target.
fn judge(network: &Network, target: &(Host, u16), addresses: &[SocketAddr]) -> Result<(), Reason> {
    for address in addresses {
        // SECURITY: the gate's own doors are never a target, whatever policy says.
        if network.own_ports.contains(&address.port()) && is_local(address.ip()) {
            return Err(Reason::TargetForbidden);
        }
        let public = address::classify(address.ip()).is_public();
        if !public && !network.allow_private.contains(target) {
            return Err(Reason::TargetForbidden);
        }
    }
    Ok(())
}

/// Whether the address belongs to this machine: only then can a socket be bound to it.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use exeat_types::FakeClock;

    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    #[track_caller]
    fn check(network: &Network, target: &str, expect: Result<&str, Reason>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clock = FakeClock::at(exeat_types::Timestamp::from_millis(0));
        let got = runtime.block_on(Resolver::new().locate(network, &origin(target), &clock));
        assert_eq!(got, expect.map(|text| text.parse().unwrap()), "{target}");
    }

    #[test]
    fn private_addresses_are_refused_unless_this_host_and_port_is_named() {
        let named = |text: &str| (origin(text).host, origin(text).port);
        let mut network = Network::default();
        for forbidden in [
            "http://127.0.0.1:9",
            "http://169.254.169.254",
            "http://[::1]:9",
            "http://10.0.0.1",
            "http://[::ffff:169.254.169.254]",
            "http://localhost:9",
            "http://0.0.0.0:9",
        ] {
            check(&network, forbidden, Err(Reason::TargetForbidden));
        }
        check(&network, "http://1.1.1.1:80", Ok("1.1.1.1:80"));
        network
            .connect_to
            .insert(named("https://api.test"), "127.0.0.1:8443".parse().unwrap());
        check(&network, "https://api.test", Err(Reason::TargetForbidden));
        network.allow_private.insert(named("https://api.test"));
        check(&network, "https://api.test", Ok("127.0.0.1:8443"));
        check(
            &network,
            "https://api.test:8443",
            Err(Reason::UpstreamUnreachable),
        );
        network.own_ports.insert(8443);
        check(&network, "https://api.test", Err(Reason::TargetForbidden));
    }
}
