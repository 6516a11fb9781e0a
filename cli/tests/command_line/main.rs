//! The binary from outside: what its commands say, and what one gate per data folder means.

#[cfg(test)]
mod files;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod support;
