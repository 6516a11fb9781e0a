//! A block of addresses, such as `10.77.0.0/24`. It says where clients may come from, never where calls may go.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::Malformed;

/// The addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    /// Whether an address lies in the block. An IPv4 address written as IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    fn has_host_bits(&self) -> bool {
        let kept = match self.address {
            IpAddr::V4(own) => u128::from(own.to_bits()).checked_shl(96 + self.bits),
            IpAddr::V6(own) => own.to_bits().checked_shl(self.bits),
        };
        kept.is_some_and(|rest| rest != 0)
    }
}

impl FromStr for Prefix {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |problem: &str| Malformed::new("prefix", problem);
        let shape = "expected an address and the length of its prefix, such as `10.77.0.0/24`";
        let (address, bits) = text.split_once('/').ok_or_else(|| wrong(shape))?;
        let address: IpAddr = address.parse().map_err(|_cause| wrong(shape))?;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits
            .parse()
            .ok()
            .filter(|bits| *bits <= length)
            .ok_or_else(|| wrong(shape))?;
        let prefix = Self { address, bits };
        if prefix.has_host_bits() {
            return Err(wrong("the address has bits beyond the prefix"));
        }
        Ok(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, inside: &[&str], outside: &[&str]) {
        let prefix: Prefix = prefix.parse().unwrap();
        for address in inside {
            assert!(
                prefix.contains(address.parse().unwrap()),
                "{address} in {prefix}"
            );
        }
        for address in outside {
            assert!(
                !prefix.contains(address.parse().unwrap()),
                "{address} not in {prefix}"
            );
        }
    }

    #[test]
    fn a_prefix_holds_the_addresses_that_begin_with_it() {
        check(
            "10.77.0.0/24",
            &["10.77.0.0", "10.77.0.255", "::ffff:10.77.0.9"],
            &["10.77.1.0", "::a4d:0", "fd00::1"],
        );
        check("10.77.0.2/32", &["10.77.0.2"], &["10.77.0.3"]);
        check("0.0.0.0/0", &["255.255.255.255"], &["::1"]);
        check("fd77::/64", &["fd77::ffff"], &["fd77:0:0:1::", "10.77.0.1"]);
        check("::/0", &["fd77::1"], &["10.77.0.1"]);
        check("fd77::2/128", &["fd77::2"], &["fd77::3"]);
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for wrong in [
            "",
            "10.77.0.0",
            "10.77.0.0/33",
            "10.77.0.0/-1",
            "fd77::/129",
            "10.77.0.1/24",
            "fd77::1/64",
            "0.0.0.1/0",
            "10.77/16",
            "host/8",
        ] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_is_shown_as_it_was_written() {
        for text in ["10.77.0.0/24", "fd77::/64", "::/0"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }
}
