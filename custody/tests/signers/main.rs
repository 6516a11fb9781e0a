//! Every place for keys, held to one contract: what it signs verifies, it signs for many at once, its key does not leave,
//! and when it is lost nothing is signed until it is back.

#[cfg(test)]
mod contract;
#[cfg(feature = "pkcs11")]
#[cfg(test)]
mod pkcs11;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod software;
#[cfg(feature = "tpm")]
#[cfg(test)]
mod tpm;
