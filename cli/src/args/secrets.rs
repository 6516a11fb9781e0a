//! The arguments of commands about secrets, roots and tokens.

use std::net::SocketAddr;

use clap::Subcommand;
use exeat_types::AgentId;

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Seal a secret, typed without echo or read from standard input
    #[command(
        after_help = "Example:\n  exeat secret set github < token.txt\n\nIn exeat.toml it is then `secret = \"sealed:github\"`."
    )]
    Set {
        /// Its name
        name: String,
    },
    /// Names, versions and dates
    List,
    /// Forget a secret
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make the root, sealed at rest
    Init,
    /// The root as PEM, for clients that add a root
    Export,
    /// The system's roots and ours as PEM, for clients that replace their roots
    Bundle,
    /// Make a new root; the old one stays trusted for an overlap
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it once
    #[command(after_help = "\
Example:
  exeat token create --agent claude --life 8h

It goes into the proxy's URL as the password: http://agent:TOKEN@127.0.0.1:8080")]
    Create {
        /// For whom
        #[arg(long)]
        agent: AgentId,
        /// How long it lives: 30m, 8h, 7d
        #[arg(long, default_value = "24h", value_parser = life)]
        life: std::time::Duration,
        /// Good only on the listener at this address
        #[arg(long)]
        listener: Option<SocketAddr>,
    },
}

/// A whole number and a unit.
pub(super) fn life(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "expected a number and s, m, h or d, such as `8h`".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let secs: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(wrong)?;
    let total = number
        .checked_mul(secs)
        .filter(|&total| total > 0)
        .ok_or_else(wrong)?;
    Ok(std::time::Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_numbers_with_a_unit() {
        assert_eq!(life("8h").unwrap().as_secs(), 28_800);
        for wrong in ["", "h", "8", "0d", "-1h", "1w", "99999999999999999999d"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }
}
