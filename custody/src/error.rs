//! What can go wrong in custody. No variant holds a secret, and no message repeats its source.

use std::{io, path::PathBuf};

use exeat_types::{CredentialId, DeviceFailure, Malformed, Reason};

use crate::redact::TooShort;

/// A failure of custody; every one of them means that nothing is sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Other users may read a file that holds secrets.
    #[error("other users can read `{0}`; run `chmod 600 {0}`", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what its name promises.
    #[error("`{}` is not a {what}: {problem}", path.display())]
    NotA {
        /// The kind of file that was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The passphrase is wrong.
    #[error("the passphrase does not open `{}`", path.display())]
    WrongPassphrase {
        /// The header file of the master key.
        path: PathBuf,
    },
    /// The vault belongs to another master key.
    #[error("`{}` was sealed under another master key", path.display())]
    WrongKey {
        /// The vault.
        path: PathBuf,
    },
    /// One record of the vault does not open.
    #[error("secret `{name}` in `{}` was changed or damaged", path.display())]
    RecordDamaged {
        /// The vault.
        path: PathBuf,
        /// The record.
        name: String,
    },
    /// Every record opens, but they are not the set that was written.
    #[error("the list of secrets in `{}` was changed: one was removed, or put back to an older version", path.display())]
    ListChanged {
        /// The vault.
        path: PathBuf,
    },
    /// Somebody else wrote the vault since it was opened.
    #[error("`{}` was changed by another process since it was opened", path.display())]
    ChangedMeanwhile {
        /// The vault.
        path: PathBuf,
    },
    /// What a notice needs has a form that cannot be used.
    #[error("the secret of a notice cannot be used as it is")]
    NoticeSecret,
    /// There is no secret of this name.
    #[error("there is no secret `{name}` in {store}")]
    SecretAbsent {
        /// The name that was looked for.
        name: String,
        /// Where it was looked for.
        store: &'static str,
    },
    /// There was a secret of this name, and somebody took it away.
    #[error("the secret `{name}` was removed from {store}")]
    SecretRevoked {
        /// Its name.
        name: String,
        /// Where it was.
        store: &'static str,
    },
    /// A secret is too short to be found in responses, or too long to be one.
    #[error("secret `{name}` has {bytes} bytes, expected {min} to {max}")]
    SecretSize {
        /// The name of the secret.
        name: String,
        /// How long it is.
        bytes: usize,
        /// The shortest that is accepted.
        min: usize,
        /// The longest that is accepted.
        max: usize,
    },
    /// A reference needs the vault, but none is open.
    #[error("`sealed:{name}` needs the vault, which has no master key yet")]
    VaultClosed {
        /// The name that was looked for.
        name: String,
    },
    /// A Vault server did not yield a secret.
    #[error("cannot read `{name}` from Vault: {problem}")]
    VaultServer {
        /// The mount, path and field.
        name: String,
        /// Why, in our words.
        problem: String,
    },
    /// The keyring of the operating system did not answer as it should.
    #[error("the keyring of the operating system failed to {action}: {problem}")]
    Keyring {
        /// What was tried.
        action: &'static str,
        /// What it said, which never includes the secret.
        problem: String,
    },
    /// A command that should yield a secret did not.
    #[error("command `{program}` {problem}")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// What it did instead; its output is not shown.
        problem: String,
    },
    /// Two credentials have one name.
    #[error("credential `{0}` is defined twice")]
    CredentialTwice(CredentialId),
    /// A credential cannot be used as it is.
    #[error("credential `{id}` {problem}")]
    CredentialUnfit {
        /// The credential.
        id: CredentialId,
        /// Why it cannot be used.
        problem: &'static str,
    },
    /// The patterns that guard secrets could not be compiled.
    #[error("cannot compile the patterns for {what}")]
    Patterns {
        /// What they look for.
        what: &'static str,
        /// What the matcher said.
        source: aho_corasick::BuildError,
    },
    /// A secret is too short to be found in responses.
    #[error(transparent)]
    Unredactable(#[from] TooShort),
    /// More tokens are in use than can be looked for in responses.
    #[error("more than {max} tokens are in use at one time")]
    TooManyTokens {
        /// The most there may be.
        max: usize,
    },
    /// A password hash could not be computed.
    #[error("cannot derive a key from the passphrase: {0}")]
    PassphraseCost(String),
    /// A text did not parse.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The key of a signer cannot be had, or cannot be used.
    #[error("signer `{name}` {problem}")]
    Signer {
        /// The signer.
        name: String,
        /// Why, as a phrase that follows its name.
        problem: String,
    },
    /// The device that keeps the master key does not give it out.
    #[error("the master key {problem}")]
    MasterDevice {
        /// Why, as a phrase that follows its name.
        problem: String,
    },
    /// A device says that the PIN is wrong. It is not tried again, since devices lock themselves.
    #[error("signer `{name}` has a PIN that its device refuses; it is not tried again")]
    WrongPin {
        /// The signer.
        name: String,
    },
    /// The operating system or a device refused.
    #[error(transparent)]
    Device(#[from] DeviceFailure),
}

impl Error {
    /// The reason an agent is given when a call fails for this.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::SecretAbsent { .. } | Self::VaultClosed { .. } => Reason::CredentialMissing,
            Self::Signer { .. } | Self::WrongPin { .. } => Reason::SignerUnavailable,
            Self::NoticeSecret
            | Self::SecretRevoked { .. }
            | Self::SecretSize { .. }
            | Self::RecordDamaged { .. }
            | Self::Keyring { .. }
            | Self::VaultServer { .. }
            | Self::Command { .. }
            | Self::CredentialTwice(_)
            | Self::CredentialUnfit { .. }
            | Self::Unredactable(_) => Reason::CredentialDead,
            Self::File { .. }
            | Self::Exposed { .. }
            | Self::NotA { .. }
            | Self::WrongPassphrase { .. }
            | Self::WrongKey { .. }
            | Self::ListChanged { .. }
            | Self::ChangedMeanwhile { .. }
            | Self::Patterns { .. }
            | Self::PassphraseCost(_)
            | Self::MasterDevice { .. }
            | Self::TooManyTokens { .. }
            | Self::Malformed(_)
            | Self::Device(_) => Reason::Internal,
        }
    }
}
