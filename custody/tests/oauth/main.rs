//! The OAuth engine against an authorization server of ours that lies, stalls and breaks off, over real sockets.
//!
//! What a real server says is judged elsewhere, with `oidc-provider`.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod order;
#[cfg(test)]
mod world;
