//! What kind of address a name resolved to: only public ones may be dialled without the operator saying so.
//!
//! Follows the IANA special-purpose registries, and is stricter: what is reserved, deprecated, or a tunnel whose other
//! end nobody knows is not public. Addresses that carry an IPv4 address are judged by the one they carry. Pure: it
//! resolves and dials nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The kind of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reachable from the whole Internet, and meant to be.
    Public,
    /// `0.0.0.0/8` and `::`, which many systems take for themselves.
    Unspecified,
    /// This machine.
    Loopback,
    /// RFC 1918.
    Private,
    /// RFC 6598, shared by carriers and by overlay networks.
    SharedCgnat,
    /// The network at the other end of the cable.
    LinkLocal,
    /// Where clouds hand out credentials to their machines.
    Metadata,
    /// Kept for documentation.
    Documentation,
    /// Kept for measurements; sandboxes use it for made-up addresses.
    Benchmarking,
    /// Many at once.
    Multicast,
    /// Everybody on the network.
    Broadcast,
    /// Private, in IPv6 (RFC 4193).
    UniqueLocal,
    /// Private, in IPv6, as it was before RFC 3879.
    SiteLocal,
    /// Routers drop it (RFC 6666, RFC 9780).
    Discard,
    /// A translator of the local network (RFC 8215).
    Nat64Local,
    /// A tunnel to an IPv4 address (RFC 3056, deprecated).
    SixToFour,
    /// A tunnel through an unknown relay (RFC 4380).
    Teredo,
    /// A tunnel inside a site (RFC 5214).
    Isatap,
    /// Set aside, deprecated or not allocated.
    Reserved,
}

impl Class {
    /// Whether an agent may reach it without a word in `[network] allow-private`.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Public)
    }

    /// The word for messages and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::SharedCgnat => "shared-cgnat",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::UniqueLocal => "unique-local",
            Self::SiteLocal => "site-local",
            Self::Discard => "discard",
            Self::Nat64Local => "nat64-local",
            Self::SixToFour => "6to4",
            Self::Teredo => "teredo",
            Self::Isatap => "isatap",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Says what kind of address this is.
pub fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

/// Judges every address a name resolved to: all of them are public, or none may be dialled. A list without addresses
/// passes, as it gives nothing to dial.
///
/// # Errors
/// The first address that is not public, with its class.
pub fn judge(addresses: &[IpAddr]) -> Result<(), (IpAddr, Class)> {
    let classes = addresses
        .iter()
        .map(|&address| (address, classify(address)));
    classes
        .into_iter()
        .find(|(_, class)| !class.is_public())
        .map_or(Ok(()), Err)
}

/// Addresses of cloud metadata services outside the ranges that are refused anyway, and the best known inside them.
const METADATA_V4: [Ipv4Addr; 7] = [
    Ipv4Addr::new(169, 254, 169, 254), // AWS, Google Cloud, Azure, DigitalOcean, OpenStack
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS tasks
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS pod identity
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent Cloud
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud, classic
    Ipv4Addr::new(168, 63, 129, 16),   // Azure WireServer, in a public range
];

const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254), // AWS
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023), // AWS EKS pod identity
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254), // Google Cloud
    Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042), // Scaleway
];

fn classify_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Metadata;
    }
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::SharedCgnat,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        // Protocol assignments (RFC 6890), and the anycast address of 6to4 relays (RFC 7526).
        [192, 0, 0, _] | [192, 88, 99, _] => Class::Reserved,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18..=19, ..] => Class::Benchmarking,
        [224..=239, ..] => Class::Multicast,
        [255, 255, 255, 255] => Class::Broadcast,
        [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    if METADATA_V6.contains(&address) {
        return Class::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // A mapped address is the IPv4 address, on the wire too; so is one behind the well-known translator.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            classify_v4(carried(high, low))
        }
        // Deprecated forms of the same: compatible (RFC 4291) and translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            behind(Class::Reserved, carried(high, low))
        }
        [0x64, 0xff9b, 1, ..] => Class::Nat64Local,
        [0x100, 0, 0, 0 | 1, ..] => Class::Discard,
        [0x2001, 0, ..] => Class::Teredo,
        [0x2001, 2, 0, ..] => Class::Benchmarking,
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        // The rest of the protocol assignments, ORCHID among them.
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        [0x2002, high, low, ..] => behind(Class::SixToFour, carried(high, low)),
        [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => behind(Class::Isatap, carried(high, low)),
        [0x2000..=0x3fff, ..] => Class::Public,
        [0xfc00..=0xfdff, ..] => Class::UniqueLocal,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xfec0..=0xfeff, ..] => Class::SiteLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Outside 2000::/3 nothing is global unicast.
        _ => Class::Reserved,
    }
}

/// A tunnel is never public; when it carries a special address, that is the better word for it.
fn behind(tunnel: Class, address: Ipv4Addr) -> Class {
    let class = classify_v4(address);
    if class.is_public() { tunnel } else { class }
}

fn carried(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    /// Every row of the IANA special-purpose registries, by first and last address, and what stands beside them.
    const RANGES: [(&str, Class); 51] = [
        ("0.0.0.0 0.255.255.255", Class::Unspecified),
        ("1.0.0.0 9.255.255.255", Class::Public),
        ("10.0.0.0 10.255.255.255", Class::Private),
        ("11.0.0.0 100.63.255.255", Class::Public),
        ("100.64.0.0 100.127.255.255", Class::SharedCgnat),
        ("100.128.0.0 126.255.255.255", Class::Public),
        ("127.0.0.0 127.255.255.255", Class::Loopback),
        ("128.0.0.0 169.253.255.255", Class::Public),
        ("169.254.0.0 169.254.255.255", Class::LinkLocal),
        ("169.255.0.0 172.15.255.255", Class::Public),
        ("172.16.0.0 172.31.255.255", Class::Private),
        ("172.32.0.0 191.255.255.255", Class::Public),
        ("192.0.0.0 192.0.0.255", Class::Reserved),
        ("192.0.1.0 192.0.1.255", Class::Public),
        ("192.0.2.0 192.0.2.255", Class::Documentation),
        ("192.31.196.0 192.52.193.255", Class::Public),
        ("192.88.99.0 192.88.99.255", Class::Reserved),
        ("192.88.100.0 192.167.255.255", Class::Public),
        ("192.168.0.0 192.168.255.255", Class::Private),
        ("192.175.48.0 198.17.255.255", Class::Public),
        ("198.18.0.0 198.19.255.255", Class::Benchmarking),
        ("198.20.0.0 198.51.99.255", Class::Public),
        ("198.51.100.0 198.51.100.255", Class::Documentation),
        ("203.0.113.0 203.0.113.255", Class::Documentation),
        ("203.0.114.0 223.255.255.255", Class::Public),
        ("224.0.0.0 239.255.255.255", Class::Multicast),
        ("240.0.0.0 255.255.255.254", Class::Reserved),
        ("255.255.255.255 255.255.255.255", Class::Broadcast),
        (":: ::", Class::Unspecified),
        ("::1 ::1", Class::Loopback),
        (
            "64:ff9b:1:: 64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            Class::Nat64Local,
        ),
        ("100:: 100::1:ffff:ffff:ffff:ffff", Class::Discard),
        ("2001:: 2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Class::Teredo),
        ("2001:1::1 2001:1::3", Class::Reserved),
        (
            "2001:2:: 2001:2:0:ffff:ffff:ffff:ffff:ffff",
            Class::Benchmarking,
        ),
        (
            "2001:3:: 2001:4:112:ffff:ffff:ffff:ffff:ffff",
            Class::Reserved,
        ),
        (
            "2001:10:: 2001:3f:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Reserved,
        ),
        (
            "2001:1ff:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Reserved,
        ),
        (
            "2001:200:: 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Public,
        ),
        (
            "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Documentation,
        ),
        (
            "2001:db9:: 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Public,
        ),
        (
            "2003:: 3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Public,
        ),
        (
            "2620:4f:8000:: 2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
            Class::Public,
        ),
        (
            "3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Documentation,
        ),
        ("4000:: 4000::1", Class::Reserved),
        (
            "5f00:: 5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Reserved,
        ),
        (
            "fc00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::UniqueLocal,
        ),
        ("fe00:: fe7f:ffff::", Class::Reserved),
        (
            "fe80:: febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::LinkLocal,
        ),
        (
            "fec0:: feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::SiteLocal,
        ),
        (
            "ff00:: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Class::Multicast,
        ),
    ];

    #[test]
    fn every_special_range_has_its_class_at_both_ends() {
        for (range, class) in RANGES {
            for address in range.split(' ') {
                check(address, class);
            }
        }
    }

    #[track_caller]
    fn check(address: &str, class: Class) {
        assert_eq!(classify(address.parse().unwrap()), class, "{address}");
    }

    #[test]
    fn metadata_services_are_known_wherever_they_live() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2606:4700::5efe:169.254.169.254",
        ] {
            check(address, Class::Metadata);
        }
    }

    #[test]
    fn carried_addresses_are_judged_and_tunnels_are_never_public() {
        check("::ffff:8.8.8.8", Class::Public);
        check("::ffff:127.0.0.1", Class::Loopback);
        check("::ffff:0.0.0.0", Class::Unspecified);
        check("64:ff9b::8.8.8.8", Class::Public);
        check("64:ff9b::10.0.0.1", Class::Private);
        check("::127.0.0.1", Class::Loopback);
        check("::8.8.8.8", Class::Reserved);
        check("::ffff:0:8.8.8.8", Class::Reserved);
        check("2002:808:808::1", Class::SixToFour);
        check("2002:7f00:1::", Class::Loopback);
        check("2606:4700::200:5efe:8.8.8.8", Class::Isatap);
        check("2606:4700::5efe:10.0.0.1", Class::Private);
        check("2606:4700::1111", Class::Public);
    }

    #[test]
    fn one_private_address_among_many_refuses_them_all() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let (public, private) = (parse("8.8.8.8"), parse("10.0.0.1"));
        assert_eq!(judge(&[public, parse("2606:4700::1111")]), Ok(()));
        assert_eq!(judge(&[public, private]), Err((private, Class::Private)));
        assert_eq!(judge(&[private, public]), Err((private, Class::Private)));
        assert_eq!(judge(&[]), Ok(()));
    }

    proptest! {
        #[test]
        fn nothing_is_public_that_the_standard_library_knows_to_be_local(bits in any::<u32>(), wide in any::<u128>()) {
            let four = Ipv4Addr::from_bits(bits);
            let local = four.is_private() || four.is_loopback() || four.is_link_local() || four.is_multicast()
                || four.is_broadcast() || four.is_documentation() || four.is_unspecified();
            prop_assert!(!(local && classify_v4(four).is_public()), "{four}");
            prop_assert_eq!(classify_v6(four.to_ipv6_mapped()), classify_v4(four));
            let six = Ipv6Addr::from_bits(wide);
            let local = six.is_loopback() || six.is_unicast_link_local() || six.is_unique_local() || six.is_multicast();
            prop_assert!(!(local && classify_v6(six).is_public()), "{six}");
        }
    }
}
