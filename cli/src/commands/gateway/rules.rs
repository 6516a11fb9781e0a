//! The nftables rules of one agent's network, as the listeners of the configuration need them.
//!
//! `take` and `lead` bring traffic to the listeners, `guard` refuses everything else that arrives, before the machine looks
//! where it was going, and `pass` lets nothing through, whatever other tables say.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::bail;
use exeat_types::{AgentId, Seal};

use crate::settings::{Capture, Listener, Mode, Settings};

/// The mark of packets that TPROXY takes, and the routing table that delivers them here.
const MARK: &str = "0x4578";
const TABLE: &str = "17784";

const WEB: &str = "tcp dport { 80, 443 }";
const NAMES: &str = "meta l4proto { tcp, udp } th dport";
/// A reset is never held back, while the kernel limits how often it sends ICMP errors.
const NO: [&str; 2] = [
    "meta l4proto tcp reject with tcp reset",
    "reject with icmpx admin-prohibited",
];

/// Without these a network does not work; they carry nothing of the agent's to anybody else.
const NEIGHBOURS: [&str; 3] = [
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    "ct state related icmp type { destination-unreachable, time-exceeded } accept",
    "ct state related icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept",
];

/// The listeners that a network is led to.
pub(super) struct Rules<'a> {
    agent: &'a AgentId,
    /// At most one for each family of addresses, as `names`.
    transparent: Vec<&'a Listener>,
    names: Vec<&'a Listener>,
    explicit: BTreeSet<u16>,
}

impl<'a> Rules<'a> {
    /// Picks the listeners of the agent that is named, else of the only one that has transparent listeners.
    pub(super) fn of(settings: &'a Settings, named: Option<&AgentId>) -> anyhow::Result<Self> {
        let of_mode = |mode| {
            settings
                .listeners
                .iter()
                .filter(move |one| one.mode == mode)
        };
        let sealed = |one: &&Listener| one.seal == Seal::Gateway;
        let agents: BTreeSet<&AgentId> = of_mode(Mode::Transparent)
            .filter(sealed)
            .filter_map(|one| one.agent.as_ref())
            .filter(|agent| named.is_none_or(|named| named == *agent))
            .collect();
        let agent = match (agents.first(), agents.len()) {
            (Some(agent), 1) => *agent,
            (Some(_), _) => {
                bail!("several agents have transparent listeners; pick one with `--agent`")
            }
            (None, _) => bail!(
                "`{}` has no transparent listener with `seal = \"gateway\"`{}",
                settings.file.display(),
                named.map_or_else(String::new, |agent| format!(" for `{agent}`")),
            ),
        };
        let own = |one: &&Listener| one.seal == Seal::Gateway && one.agent.as_ref() == Some(agent);
        Ok(Self {
            agent,
            transparent: one_each(of_mode(Mode::Transparent).filter(own))?,
            names: one_each(of_mode(Mode::Dns))?,
            explicit: of_mode(Mode::Explicit)
                .filter(own)
                .map(|one| one.address.port())
                .collect(),
        })
    }

    /// The rules for what comes from these interfaces, for `nft -f`.
    pub(super) fn text(&self, interfaces: &[String]) -> anyhow::Result<String> {
        let from: Vec<String> = interfaces
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let from = from.join(", ");
        let agent = self.agent;
        let mut out = format!(
            "# What comes from {from} ends at Exeat, as agent {agent}, or is refused at once.\n"
        );
        for command in self.once() {
            writeln!(out, "# Once: {command}")?;
        }
        let table = format!("table inet exeat-{agent}");
        write!(out, "{table}\ndelete {table}\n{table} {{\n")?;
        let others = format!("iifname != {{ {from} }} accept");
        for (name, hook, lines) in [
            (
                "take",
                "filter hook prerouting priority mangle",
                self.take(),
            ),
            (
                "lead",
                "nat hook prerouting priority dstnat - 10",
                self.lead()?,
            ),
            (
                "guard",
                "filter hook prerouting priority dstnat + 10",
                self.guard(),
            ),
        ] {
            if !lines.is_empty() {
                let lines = [vec![others.clone()], lines].concat().join("\n        ");
                writeln!(
                    out,
                    "    chain {name} {{\n        type {hook}; policy accept;\n        {lines}\n    }}"
                )?;
            }
        }
        let [tcp, rest] = NO.map(|no| format!("iifname {{ {from} }} {no}"));
        writeln!(
            out,
            "    chain pass {{\n        type filter hook forward priority filter - 10; policy accept;\n        \
             {tcp}\n        {rest}\n        oifname {{ {from} }} drop\n    }}\n}}"
        )?;
        Ok(out)
    }

    /// What nftables cannot set: errors that are told at once however many there are, and a way home for taken packets.
    fn once(&self) -> Vec<String> {
        let mut commands =
            vec!["sysctl -q net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0".to_owned()];
        if self
            .transparent
            .iter()
            .any(|one| one.capture == Capture::Tproxy)
        {
            for ip in ["ip -4", "ip -6"] {
                commands.push(format!("{ip} rule add fwmark {MARK} lookup {TABLE}"));
                commands.push(format!("{ip} route add local default dev lo table {TABLE}"));
            }
        }
        commands
    }

    /// TPROXY: traffic is delivered here as it is.
    fn take(&self) -> Vec<String> {
        let taken = self
            .transparent
            .iter()
            .filter(|one| one.capture == Capture::Tproxy);
        taken
            .map(|one| {
                let (nfproto, word) = family(one);
                let to = destination(one);
                format!(
                    "meta nfproto {nfproto} {WEB} tproxy {word} to {to} meta mark set {MARK} accept"
                )
            })
            .collect()
    }

    /// REDIRECT: its destination is rewritten. Names are always led this way.
    fn lead(&self) -> anyhow::Result<Vec<String>> {
        let traffic = self
            .transparent
            .iter()
            .filter(|one| one.capture == Capture::Redirect);
        let traffic = traffic.map(|one| rewrite(one, WEB));
        let names = self
            .names
            .iter()
            .map(|one| rewrite(one, &format!("{NAMES} 53")));
        traffic.chain(names).collect()
    }

    /// What was led here may come in, and to an explicit listener; nothing else gets as far as this machine's own ports.
    fn guard(&self) -> Vec<String> {
        let led = |one: &Listener, what: String| {
            let (nfproto, _) = family(one);
            format!("meta nfproto {nfproto} ct status dnat fib daddr type local {what} accept")
        };
        let mut lines = Vec::new();
        for one in &self.transparent {
            lines.push(match one.capture {
                Capture::Redirect => led(one, format!("tcp dport {}", one.address.port())),
                Capture::Tproxy => format!(
                    "meta nfproto {} {WEB} meta mark {MARK} accept",
                    family(one).0
                ),
            });
        }
        for one in &self.names {
            lines.push(led(one, format!("{NAMES} {}", one.address.port())));
        }
        for port in &self.explicit {
            lines.push(format!("fib daddr type local tcp dport {port} accept"));
        }
        lines.extend(NEIGHBOURS.map(str::to_owned));
        lines.extend(NO.map(str::to_owned));
        lines
    }
}

/// At most one listener for each family of addresses, each with a port that is known now.
fn one_each<'a>(
    listeners: impl Iterator<Item = &'a Listener>,
) -> anyhow::Result<Vec<&'a Listener>> {
    let mut found: Vec<&Listener> = Vec::new();
    for listener in listeners {
        let address = listener.address;
        if address.port() == 0 {
            bail!("the listener at {address} has no fixed port, and rules need one");
        }
        if found
            .iter()
            .any(|one| one.address.is_ipv4() == address.is_ipv4())
        {
            bail!("two listeners would take the same traffic; the second is at {address}");
        }
        found.push(listener);
    }
    Ok(found)
}

/// What nftables calls its addresses, as a protocol and as a word before an address.
fn family(listener: &Listener) -> (&'static str, &'static str) {
    if listener.address.is_ipv4() {
        ("ipv4", "ip")
    } else {
        ("ipv6", "ip6")
    }
}

/// The port alone when the listener is on every address: packets then keep an address of the interface they came from.
fn destination(listener: &Listener) -> String {
    if listener.address.ip().is_unspecified() {
        format!(":{}", listener.address.port())
    } else {
        listener.address.to_string()
    }
}

fn rewrite(listener: &Listener, what: &str) -> anyhow::Result<String> {
    let (nfproto, word) = family(listener);
    let (ip, to) = (listener.address.ip(), destination(listener));
    if ip.is_loopback() {
        bail!("nothing can be redirected from a network to the loopback address {to}");
    }
    Ok(if ip.is_unspecified() {
        format!("meta nfproto {nfproto} {what} redirect to {to}")
    } else {
        format!("meta nfproto {nfproto} {what} dnat {word} to {to}")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn listener(mode: &str, address: &str, more: &str) -> String {
        format!("[[listener]]\nmode = \"{mode}\"\naddress = \"{address}\"\n{more}\n")
    }

    const SEALED: &str = "agent = \"a\"\nseal = \"gateway\"";

    /// The rules for one interface, or why there are none.
    fn rules(listeners: &[String], agent: Option<&str>) -> Result<String, String> {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("exeat.toml");
        let text = format!("{}[agents.a]\n[agents.b]\n", listeners.concat());
        fs::write(&file, text).unwrap();
        let settings = Settings::load(&file).unwrap();
        let agent = agent.map(|agent| agent.parse().unwrap());
        Rules::of(&settings, agent.as_ref())
            .and_then(|rules| rules.text(&["agents0".to_owned()]))
            .map_err(|error| {
                error
                    .to_string()
                    .replace(&file.display().to_string(), "FILE")
            })
    }

    #[test]
    fn redirected_traffic_is_led_here_and_everything_else_is_refused() {
        let listeners = [
            listener("transparent", "0.0.0.0:8081", SEALED),
            listener("transparent", "[fd00::1]:8082", SEALED),
            listener("explicit", "0.0.0.0:8080", SEALED),
            listener("explicit", "127.0.0.1:8079", ""),
            listener("dns", "0.0.0.0:5353", ""),
        ];
        insta::assert_snapshot!(rules(&listeners, None).unwrap(), @r#"
        # What comes from "agents0" ends at Exeat, as agent a, or is refused at once.
        # Once: sysctl -q net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        table inet exeat-a
        delete table inet exeat-a
        table inet exeat-a {
            chain lead {
                type nat hook prerouting priority dstnat - 10; policy accept;
                iifname != { "agents0" } accept
                meta nfproto ipv4 tcp dport { 80, 443 } redirect to :8081
                meta nfproto ipv6 tcp dport { 80, 443 } dnat ip6 to [fd00::1]:8082
                meta nfproto ipv4 meta l4proto { tcp, udp } th dport 53 redirect to :5353
            }
            chain guard {
                type filter hook prerouting priority dstnat + 10; policy accept;
                iifname != { "agents0" } accept
                meta nfproto ipv4 ct status dnat fib daddr type local tcp dport 8081 accept
                meta nfproto ipv6 ct status dnat fib daddr type local tcp dport 8082 accept
                meta nfproto ipv4 ct status dnat fib daddr type local meta l4proto { tcp, udp } th dport 5353 accept
                fib daddr type local tcp dport 8080 accept
                icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                ct state related icmp type { destination-unreachable, time-exceeded } accept
                ct state related icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept
                meta l4proto tcp reject with tcp reset
                reject with icmpx admin-prohibited
            }
            chain pass {
                type filter hook forward priority filter - 10; policy accept;
                iifname { "agents0" } meta l4proto tcp reject with tcp reset
                iifname { "agents0" } reject with icmpx admin-prohibited
                oifname { "agents0" } drop
            }
        }
        "#);
    }

    #[test]
    fn taken_traffic_is_marked_and_names_are_still_redirected() {
        let tproxy = format!("{SEALED}\ncapture = \"tproxy\"");
        let listeners = [
            listener("transparent", "127.0.0.1:8081", &tproxy),
            listener("transparent", "[::]:8081", &tproxy),
            listener("dns", "[::]:5353", ""),
        ];
        insta::assert_snapshot!(rules(&listeners, Some("a")).unwrap(), @r#"
        # What comes from "agents0" ends at Exeat, as agent a, or is refused at once.
        # Once: sysctl -q net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        # Once: ip -4 rule add fwmark 0x4578 lookup 17784
        # Once: ip -4 route add local default dev lo table 17784
        # Once: ip -6 rule add fwmark 0x4578 lookup 17784
        # Once: ip -6 route add local default dev lo table 17784
        table inet exeat-a
        delete table inet exeat-a
        table inet exeat-a {
            chain take {
                type filter hook prerouting priority mangle; policy accept;
                iifname != { "agents0" } accept
                meta nfproto ipv4 tcp dport { 80, 443 } tproxy ip to 127.0.0.1:8081 meta mark set 0x4578 accept
                meta nfproto ipv6 tcp dport { 80, 443 } tproxy ip6 to :8081 meta mark set 0x4578 accept
            }
            chain lead {
                type nat hook prerouting priority dstnat - 10; policy accept;
                iifname != { "agents0" } accept
                meta nfproto ipv6 meta l4proto { tcp, udp } th dport 53 redirect to :5353
            }
            chain guard {
                type filter hook prerouting priority dstnat + 10; policy accept;
                iifname != { "agents0" } accept
                meta nfproto ipv4 tcp dport { 80, 443 } meta mark 0x4578 accept
                meta nfproto ipv6 tcp dport { 80, 443 } meta mark 0x4578 accept
                meta nfproto ipv6 ct status dnat fib daddr type local meta l4proto { tcp, udp } th dport 5353 accept
                icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                ct state related icmp type { destination-unreachable, time-exceeded } accept
                ct state related icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept
                meta l4proto tcp reject with tcp reset
                reject with icmpx admin-prohibited
            }
            chain pass {
                type filter hook forward priority filter - 10; policy accept;
                iifname { "agents0" } meta l4proto tcp reject with tcp reset
                iifname { "agents0" } reject with icmpx admin-prohibited
                oifname { "agents0" } drop
            }
        }
        "#);
    }

    #[test]
    fn rules_that_would_leave_a_gap_are_not_printed() {
        let b = SEALED.replace("\"a\"", "\"b\"");
        let one = listener("transparent", "0.0.0.0:8081", SEALED);
        let two = listener("transparent", "0.0.0.0:8082", &b);
        for (listeners, agent, why) in [
            (
                vec![],
                None,
                "`FILE` has no transparent listener with `seal = \"gateway\"`",
            ),
            (
                vec![one.clone()],
                Some("b"),
                "`FILE` has no transparent listener with `seal = \"gateway\"` for `b`",
            ),
            (
                vec![one.clone(), two],
                None,
                "several agents have transparent listeners; pick one with `--agent`",
            ),
            (
                vec![
                    one.clone(),
                    listener("transparent", "10.0.0.1:8082", SEALED),
                ],
                None,
                "two listeners would take the same traffic; the second is at 10.0.0.1:8082",
            ),
            (
                vec![listener("transparent", "0.0.0.0:0", SEALED)],
                None,
                "the listener at 0.0.0.0:0 has no fixed port, and rules need one",
            ),
            (
                vec![one, listener("dns", "127.0.0.1:53", "")],
                None,
                "nothing can be redirected from a network to the loopback address 127.0.0.1:53",
            ),
        ] {
            assert_eq!(rules(&listeners, agent).unwrap_err(), why);
        }
    }
}
