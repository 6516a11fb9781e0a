//! The arguments of `exeat gateway`.

use clap::Subcommand;
use exeat_types::AgentId;

#[derive(Debug, Subcommand)]
pub(crate) enum Gateway {
    /// Print the nftables rules that lead a network's traffic to the listeners of the configuration
    #[command(after_help = "\
Example:
  exeat gateway rules --interface agents0 | nft -f -

What arrives there ends at the gate or is refused at once: TCP 80 and 443 go to the transparent listeners, port 53 to the
dns listeners, nothing is forwarded. Loading the rules again replaces them.")]
    Rules {
        /// A network interface that agents are behind; may be repeated
        #[arg(long, required = true, value_name = "NAME", value_parser = interface)]
        interface: Vec<String>,
        /// Whose listeners; needed when transparent listeners name several agents
        #[arg(long)]
        agent: Option<AgentId>,
    },
}

/// A name that Linux would take and that means nothing else inside quotes.
fn interface(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 15 || !text.chars().all(plain) {
        return Err("expected the name of a network interface, such as `eth1`".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_a_plain_name() {
        for good in ["eth1", "br-0a1b2c3d4e5f", "wg0.1", "agents_0"] {
            assert!(interface(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "a name",
            "eth\"; accept; \"",
            "longer-than-15-chars",
            "eth*",
        ] {
            assert!(interface(wrong).is_err(), "{wrong}");
        }
    }
}
