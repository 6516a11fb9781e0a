//! Where calls may go: names become addresses here, after policy has spoken, and only classified addresses are dialled.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exeat_custody::{Ask, ClientIdentity, Custody};
use exeat_policy::address;
use exeat_types::{AgentId, Clock, CredentialId, Host, Origin, Reason, Timestamp, limits};
use http::{HeaderMap, Method, header};

use crate::{
    Route, Rules,
    dial::{Judged, Through},
};

/// The operator's word on the network.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Hosts and ports that may resolve to addresses which are not public.
    pub allow_private: BTreeSet<(Host, u16)>,
    /// Fixed addresses for some hosts and ports.
    pub connect_to: BTreeMap<(Host, u16), SocketAddr>,
    /// Ports of the gate's own listeners, refused on every local address.
    pub own_ports: BTreeSet<u16>,
    /// The host and port under which people reach the console, which may be a proxy in front of it: never a target.
    pub console: Option<(Host, u16)>,
    /// Roots that upstream certificates may chain to; a pooled connection is reused only under the same ones.
    pub roots: Roots,
    /// Hosts and ports whose TLS passes unread, and for which agents; for all of them when there is no list.
    pub passthrough: BTreeMap<(Host, u16), Option<BTreeSet<AgentId>>>,
    /// The proxy that stands between the gate and the Internet, if one does.
    pub upstream_proxy: Option<UpstreamProxy>,
}

impl Network {
    /// Whether anybody's TLS to a target passes unread; port 0 stands for any.
    pub fn passes_unread_for_some(&self, host: &Host, port: u16) -> bool {
        let mut targets = self.passthrough.keys();
        targets.any(|(known, at)| known == host && (port == 0 || port == *at))
    }

    /// Whether this agent's TLS to a target passes unread.
    pub fn passes_unread(&self, agent: &AgentId, host: &Host, port: u16) -> bool {
        let agents = self.passthrough.get(&(host.clone(), port));
        agents.is_some_and(|agents| agents.as_ref().is_none_or(|list| list.contains(agent)))
    }
}

/// A set of upstream roots.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Differs from the id of every other set.
    pub id: u64,
    /// The certificates, DER.
    pub certificates: Arc<[Vec<u8>]>,
}

/// A proxy between the gate and the Internet. It is asked with CONNECT, so that TLS stays between the gate and the upstream.
#[derive(Debug, Clone)]
pub struct UpstreamProxy {
    /// Where it is; plain HTTP.
    pub origin: Origin,
    /// What it asks for.
    pub credential: Option<CredentialId>,
    /// Hosts that are reached without it.
    pub bypass: BTreeSet<Host>,
}

/// An upstream whose addresses were classified.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where the call goes.
    pub origin: Origin,
    /// How it is reached.
    pub route: Route,
    /// Connections are shared only within one group: agent, credential, trust and way are part of it.
    pub group: u64,
    /// What its certificate has to chain to.
    pub roots: Roots,
    /// The certificate that is shown to it.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// Names that mean this machine or its cloud, whoever resolves them. Names below them mean the same.
const LOCAL_NAMES: [&str; 9] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
];

/// How long a judged answer is reused.
const ANSWER_TTL: Duration = Duration::from_secs(10);
/// How many answers are kept.
const ANSWERS_MAX: usize = 1024;

/// A host and a port.
type Target = (Host, u16);

/// Over what a request goes, and on whose behalf.
pub(crate) struct Way<'a> {
    pub(crate) network: &'a Network,
    /// What knows the credential of a proxy.
    pub(crate) custody: Option<&'a Custody>,
    pub(crate) agent: Option<&'a AgentId>,
}

impl<'a> Way<'a> {
    /// The way of a call.
    pub(crate) fn of(rules: &'a Rules, agent: &'a AgentId) -> Self {
        Self {
            network: &rules.network,
            custody: Some(&rules.custody),
            agent: Some(agent),
        }
    }
}

/// Resolves names and remembers answers for a moment.
pub(crate) struct Resolver {
    answers: Mutex<HashMap<Target, (Duration, Arc<Judged>)>>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self {
            answers: Mutex::new(HashMap::new()),
        }
    }

    /// Finds the way to an origin that this agent's calls may take.
    ///
    /// # Errors
    /// `target-forbidden` when any of its addresses is one no agent may reach, `upstream-unreachable` when there is none,
    /// `credential-missing` when the proxy on the way wants one that custody does not hold.
    pub(crate) async fn locate(
        &self,
        way: &Way<'_>,
        origin: &Origin,
        clock: &dyn Clock,
    ) -> Result<Route, Reason> {
        let network = way.network;
        let target = (origin.host.clone(), origin.port);
        // SECURITY: an agent has no business at the console, whatever stands in front of it.
        if network.console.as_ref() == Some(&target) {
            return Err(Reason::TargetForbidden);
        }
        let Some(proxy) = proxy_for(network, &target)? else {
            return Ok(Route::new(
                self.judged(network, &target, clock).await?,
                None,
            ));
        };
        let through = Through {
            authority: origin.host_port(),
            authorization: authorization(way, proxy, clock.now())?,
        };
        let hop = (proxy.origin.host.clone(), proxy.origin.port);
        let judged = self.judged(network, &hop, clock).await?;
        Ok(Route::new(judged, Some(through)))
    }

    async fn judged(
        &self,
        network: &Network,
        target: &Target,
        clock: &dyn Clock,
    ) -> Result<Arc<Judged>, Reason> {
        let judged = self.addresses(network, target, clock).await?;
        judge(network, target, judged.all())?;
        match judged.first() {
            Some(_) => Ok(judged),
            None => Err(Reason::UpstreamUnreachable),
        }
    }

    async fn addresses(
        &self,
        network: &Network,
        target: &Target,
        clock: &dyn Clock,
    ) -> Result<Arc<Judged>, Reason> {
        let fixed = |address: SocketAddr| Arc::new(Judged::new(&[address], None));
        if let Some(address) = network.connect_to.get(target) {
            return Ok(fixed(*address));
        }
        let name = match &target.0 {
            Host::Ip(address) => return Ok(fixed(SocketAddr::new(*address, target.1))),
            Host::Name(name) => Arc::clone(name),
        };
        let now = clock.monotonic();
        let known = self.lock().get(target).cloned();
        if let Some((until, judged)) = &known
            && *until > now
        {
            return Ok(Arc::clone(judged));
        }
        let asked = tokio::net::lookup_host((&*name, target.1));
        let answered = tokio::time::timeout(limits::RESOLVE_TIMEOUT, asked).await;
        let Ok(Ok(found)) = answered else {
            return Err(Reason::UpstreamUnreachable);
        };
        let found: Vec<SocketAddr> = found.collect();
        let before = known.and_then(|(_, judged)| judged.first());
        let judged = Arc::new(Judged::new(&found, before));
        let mut answers = self.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(target.clone(), (now + ANSWER_TTL, Arc::clone(&judged)));
        Ok(judged)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, (Duration, Arc<Judged>)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an agent is told when there is no way.
pub(crate) fn sentence(reason: Reason, origin: &Origin) -> String {
    match reason {
        Reason::TargetForbidden => {
            format!("{origin} leads to an address that no agent may reach")
        }
        Reason::CredentialMissing => {
            "custody does not hold what the upstream proxy asks for".to_owned()
        }
        _ => format!("{origin} has no address"),
    }
}

/// The proxy that a target is reached through, if any. What the operator gave an address or called private is reached
/// directly: it is near, and somebody else's resolver would not mean the same by its name.
fn proxy_for<'a>(
    network: &'a Network,
    target: &Target,
) -> Result<Option<&'a UpstreamProxy>, Reason> {
    let near = network.connect_to.contains_key(target) || network.allow_private.contains(target);
    let proxy = network.upstream_proxy.as_ref();
    let Some(proxy) = proxy.filter(|proxy| !near && !proxy.bypass.contains(&target.0)) else {
        return Ok(None);
    };
    match &target.0 {
        Host::Ip(address) => judge(network, target, &[SocketAddr::new(*address, target.1)])?,
        Host::Name(name) => {
            // SECURITY: the proxy resolves other names, but what these mean is no secret.
            let below = |local: &&str| {
                let above = name.strip_suffix(*local);
                above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            if LOCAL_NAMES.iter().any(below) {
                return Err(Reason::TargetForbidden);
            }
        }
    }
    Ok(Some(proxy))
}

/// What the proxy wants to see, made by custody as for any other place that its credential is bound to.
fn authorization(
    way: &Way<'_>,
    proxy: &UpstreamProxy,
    now: Timestamp,
) -> Result<Option<http::HeaderValue>, Reason> {
    let Some(credential) = &proxy.credential else {
        return Ok(None);
    };
    let (Some(custody), Some(agent)) = (way.custody, way.agent) else {
        return Err(Reason::CredentialMissing);
    };
    let prepared = custody.prepare(&Ask {
        agent,
        origin: &proxy.origin,
        path: "/",
        query: None,
        headers: &HeaderMap::new(),
        body: None,
        method: &Method::CONNECT,
        credential: Some(credential),
        others: &[],
        token: None,
        slots: &[],
        now,
    });
    let headers = prepared
        .map_err(|_cause| Reason::CredentialMissing)?
        .headers;
    let is_ours = |(name, _): &(http::HeaderName, _)| *name == header::AUTHORIZATION;
    match headers.into_iter().find(is_ours) {
        Some((_, Some(value))) => Ok(Some(value)),
        Some((_, None)) | None => Err(Reason::CredentialMissing),
    }
}

/// All or nothing: one bad address among the answers refuses the target.
fn judge(network: &Network, target: &Target, addresses: &[SocketAddr]) -> Result<(), Reason> {
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
    use exeat_custody::{CredentialSpec, Kind, Live, Loaded, SecretRef, Shape};
    use exeat_policy::{Policy, Sources, World};
    use exeat_types::{FakeClock, Secret};

    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    fn named(text: &str) -> Target {
        (origin(text).host, origin(text).port)
    }

    fn agent() -> AgentId {
        AgentId::new("tester").unwrap()
    }

    /// Rules around a network; custody holds one credential, for the proxy.
    fn rules(network: Network) -> Rules {
        let spec = CredentialSpec {
            id: CredentialId::new("proxy").unwrap(),
            kind: Kind::Basic {
                username: "gate".to_owned(),
            },
            origins: vec![origin("http://10.0.0.9:3128")],
            secret: Some(SecretRef::Env("NONE".to_owned())),
            shape: Shape::Auto,
        };
        let secret = Secret::new(b"CANARY-proxy-password".to_vec());
        let custody = Custody::build(
            vec![Loaded::new(spec, secret, 1)],
            &[agent()],
            &Secret::new(vec![3; 32]),
            &Live::new().unwrap(),
        );
        let policy = Policy::compile(&Sources::default(), &World::default());
        Rules {
            policy: Arc::new(policy.map_err(|report| report.to_string()).unwrap()),
            custody: Arc::new(custody.unwrap()),
            network,
            unreachable: BTreeMap::new(),
        }
    }

    fn located(network: &Network, target: &str) -> Result<Route, Reason> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clock = FakeClock::at(Timestamp::from_millis(0));
        let rules = rules(network.clone());
        runtime.block_on(Resolver::new().locate(
            &Way::of(&rules, &agent()),
            &origin(target),
            &clock,
        ))
    }

    #[track_caller]
    fn check(network: &Network, target: &str, expect: Result<&str, Reason>) {
        let got = located(network, target).map(|route| route.likely().unwrap());
        assert_eq!(got, expect.map(|text| text.parse().unwrap()), "{target}");
    }

    #[test]
    fn private_addresses_are_refused_unless_this_host_and_port_is_named() {
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
        network.own_ports.clear();
        check(&network, "https://api.test", Ok("127.0.0.1:8443"));
        network.console = Some(named("https://api.test"));
        check(&network, "https://api.test", Err(Reason::TargetForbidden));
    }

    fn with_proxy() -> Network {
        Network {
            upstream_proxy: Some(UpstreamProxy {
                origin: origin("http://10.0.0.9:3128"),
                credential: None,
                bypass: [Host::parse("1.1.1.1").unwrap()].into(),
            }),
            allow_private: [named("http://10.0.0.9:3128")].into(),
            ..Network::default()
        }
    }

    #[test]
    fn a_proxy_gets_names_unresolved_but_nothing_near_and_nothing_forbidden() {
        let mut network = with_proxy();
        let proxy = Ok("10.0.0.9:3128");
        check(&network, "https://never-resolved.invalid", proxy);
        check(&network, "http://8.8.8.8", proxy);
        check(&network, "https://[2606:4700::1111]", proxy);
        check(&network, "https://1.1.1.1", Ok("1.1.1.1:443"));
        for forbidden in [
            "http://127.0.0.1",
            "http://169.254.169.254",
            "http://[::1]",
            "http://192.168.1.1",
            "http://localhost",
            "http://a.localhost",
            "http://metadata.google.internal",
            "http://metadata",
        ] {
            check(&network, forbidden, Err(Reason::TargetForbidden));
        }
        check(&network, "http://notlocalhost", proxy);
        network.allow_private.insert(named("http://127.0.0.1:9"));
        check(&network, "http://127.0.0.1:9", Ok("127.0.0.1:9"));
        network
            .connect_to
            .insert(named("https://api.test"), "8.8.4.4:443".parse().unwrap());
        check(&network, "https://api.test", Ok("8.8.4.4:443"));
        network.allow_private.clear();
        check(&network, "https://any.test", Err(Reason::TargetForbidden));
    }

    #[test]
    fn the_credential_of_a_proxy_comes_from_custody_or_nothing_leaves() {
        let mut network = with_proxy();
        let id = |name: &str| Some(CredentialId::new(name).unwrap());
        network.upstream_proxy.as_mut().unwrap().credential = id("proxy");
        let route = located(&network, "https://any.test").unwrap();
        let shown = format!("{route:?}");
        assert!(shown.contains("authorization: Some(Sensitive)"), "{shown}");
        network.upstream_proxy.as_mut().unwrap().credential = id("other");
        check(&network, "https://any.test", Err(Reason::CredentialMissing));
        // Bound to another place than the proxy in force.
        let moved = network.upstream_proxy.as_mut().unwrap();
        (moved.credential, moved.origin) = (id("proxy"), origin("http://9.9.9.9:3128"));
        check(&network, "https://any.test", Err(Reason::CredentialMissing));
    }

    #[test]
    fn passing_unread_is_for_one_host_one_port_and_the_agents_named() {
        let mut network = Network::default();
        let other = AgentId::new("other").unwrap();
        let passes = |network: &Network, agent: &AgentId, text: &str| {
            network.passes_unread(agent, &origin(text).host, origin(text).port)
        };
        network.passthrough.insert(named("https://all.test"), None);
        let few = Some([agent()].into());
        network.passthrough.insert(named("https://few.test"), few);
        assert!(passes(&network, &other, "https://all.test"));
        assert!(!passes(&network, &other, "https://all.test:8443"));
        assert!(!passes(&network, &other, "https://sub.all.test"));
        assert!(passes(&network, &agent(), "https://few.test"));
        assert!(!passes(&network, &other, "https://few.test"));
    }
}
