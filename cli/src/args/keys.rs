//! The arguments of commands about keys: signers, and the master key.

use clap::{Subcommand, ValueEnum};
use exeat_types::Algorithm;

#[derive(Debug, Subcommand)]
pub(crate) enum Signer {
    /// Every signer of the configuration, and whether its key can be used
    List,
    /// Make the key of a signer, where the configuration says it lies, and print its public half
    #[command(after_help = "\
In exeat.toml:
  [signers.app]
  kind = \"software\"                 # or \"pkcs11\", \"tpm\"
  secret = \"sealed:signers/app\"

Then:
  exeat signer create app
  exeat signer create card --algorithm rs256

A key that is there is never replaced. Keys in services (a KMS, Vault) are made there.")]
    Create {
        /// Which signer
        name: String,
        /// What it signs with; a TPM makes es256 only
        #[arg(long, value_enum, default_value_t = Signs::Es256)]
        algorithm: Signs,
    },
    /// The public key of a signer, for whoever is to verify what it signs
    #[command(after_help = "\
Example:
  exeat signer public app --form jwk
  exeat signer public app --form ssh >> allowed_signers")]
    Public {
        /// Which signer
        name: String,
        /// In which form
        #[arg(long, value_enum, default_value_t = Form::Pem)]
        form: Form,
    },
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signs {
    /// ECDSA on P-256 with SHA-256
    Es256,
    /// Ed25519
    Eddsa,
    /// RSA with PKCS#1 v1.5 and SHA-256
    Rs256,
}

impl Signs {
    /// The JOSE name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Es256 => Algorithm::Es256.name(),
            Self::Eddsa => Algorithm::EdDsa.name(),
            Self::Rs256 => Algorithm::Rs256.name(),
        }
    }
}

/// The form of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// PEM of the X.509 public key
    Pem,
    /// JSON Web Key, on one line
    Jwk,
    /// One line of OpenSSH
    Ssh,
    /// The key directory of Web Bot Auth, which is published at /.well-known/http-message-signatures-directory
    Directory,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Master {
    /// Where it is kept
    Show,
    /// Move it to where the configuration says, and nothing that is sealed has to change
    #[command(after_help = "\
Change `master` under [custody] in exeat.toml, stop the gate, then:
  exeat master move

The key is read back from the new place before it leaves the old one: killed in the middle, it is
in both, and the same command goes on.

The ways: \"key-file\", \"passphrase\", \"keyring\", \"tpm\", \"pkcs11\".")]
    Move,
    /// Make a new one in its place; the vault is wrapped anew, and what is older still opens
    #[command(after_help = "\
Stop the gate, then:
  exeat master rotate

Whoever had a copy of the old key and of the folder has the secrets of that time: change those
too, with `exeat secret set`, and the root with `exeat ca rotate`.")]
    Rotate,
    /// Put another passphrase in the place of the one that there is
    Passphrase,
}
