//! Everything that can go wrong in the CA. No message names a key byte.

use std::{io, path::PathBuf};

use exeat_types::{DeviceFailure, Digest, Host, Timestamp};

/// Why the CA did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key pair could not be made.
    #[error("no key pair could be generated")]
    Generate,
    /// Random bytes were not to be had.
    #[error("no serial number could be drawn")]
    Random(#[source] DeviceFailure),
    /// Key bytes do not parse as a P-256 key in PKCS #8.
    #[error("the root key is not a P-256 key")]
    Key,
    /// The root certificate could not be built.
    #[error("the root certificate could not be built")]
    Root(#[source] rcgen::Error),
    /// A leaf could not be built.
    #[error("no certificate could be built for `{host}`")]
    Leaf {
        /// The host it was for.
        host: Host,
        /// What the encoder said.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate does not parse.
    #[error("the root certificate is unreadable: {problem}")]
    Unreadable {
        /// What is wrong with it.
        problem: String,
    },
    /// A date lies outside what a certificate can carry.
    #[error("`{moment}` is no date for a certificate")]
    Date {
        /// The moment, in milliseconds since 1970.
        moment: u64,
    },
    /// The key that was opened is not the one in the certificate.
    #[error("the sealed key does not belong to the root `{fingerprint}`")]
    KeyMismatch {
        /// The fingerprint of the certificate.
        fingerprint: Digest,
    },
    /// The root key could not be sealed.
    #[error("the root key could not be sealed")]
    Seal(#[source] DeviceFailure),
    /// The sealed root key could not be opened.
    #[error("the root key could not be opened; was it sealed with another master key, or changed?")]
    Unseal(#[source] DeviceFailure),
    /// The root is no longer valid.
    #[error("the root expired at `{at}`; help: run `exeat ca rotate`")]
    RootExpired {
        /// When it ended.
        at: Timestamp,
    },
    /// There is a root in that folder.
    #[error("`{}` exists; help: `exeat ca rotate` replaces a root", path.display())]
    Exists {
        /// The certificate that is there.
        path: PathBuf,
    },
    /// There is no root in that folder.
    #[error("`{}` does not exist; help: run `exeat ca init`", path.display())]
    Missing {
        /// The certificate that was looked for.
        path: PathBuf,
    },
    /// Others may read or change the file.
    #[error("`{}` is open to other users (mode {mode:03o}); help: chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    File {
        /// What was tried, such as `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The machine has no trusted roots.
    #[error("no system roots were found: {problems}")]
    NoSystemRoots {
        /// What went wrong while looking.
        problems: String,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
}
