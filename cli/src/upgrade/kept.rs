//! The sockets a gate listens on, by name: inherited from the gate before this one where there is one by that name, bound
//! otherwise, and copied for the gate after. What is inherited and not asked for is closed.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, OwnedFd},
};

/// Sockets by name. The same name asked for again means the next one of that name.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    inherited: HashMap<String, OwnedFd>,
    copies: BTreeMap<String, OwnedFd>,
    asked: HashMap<String, usize>,
}

impl Kept {
    /// With what a gate before this one listened on.
    pub(crate) fn inherit(inherited: HashMap<String, OwnedFd>) -> Self {
        Self {
            inherited,
            ..Self::default()
        }
    }

    /// The socket of this name.
    ///
    /// # Errors
    /// When it is not inherited and cannot be bound, or no descriptor is to be had.
    pub(crate) fn socket<S: AsFd + From<OwnedFd>>(
        &mut self,
        name: &str,
        bind: impl FnOnce() -> io::Result<S>,
    ) -> io::Result<S> {
        let count = self.asked.entry(name.to_owned()).or_default();
        let name = format!("{name} #{count}");
        *count = count.saturating_add(1);
        let socket = match self.inherited.remove(&name) {
            Some(inherited) => S::from(inherited),
            None => bind()?,
        };
        self.copies
            .insert(name, socket.as_fd().try_clone_to_owned()?);
        Ok(socket)
    }

    /// Copies of them all, for the gate after this one.
    pub(crate) fn into_copies(self) -> BTreeMap<String, OwnedFd> {
        self.copies
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_socket_is_bound_once_and_goes_from_gate_to_gate() {
        let mut first = Kept::default();
        let bind = || TcpListener::bind("127.0.0.1:0");
        let one = first.socket("tcp 127.0.0.1:0", bind).unwrap();
        let two = first.socket("tcp 127.0.0.1:0", bind).unwrap();
        let addresses = [&one, &two].map(|socket| socket.local_addr().unwrap());
        assert_ne!(addresses[0], addresses[1]);
        let mut second = Kept::inherit(first.into_copies().into_iter().collect());
        let never = || Err(io::Error::other("bound again"));
        for address in addresses {
            let socket: TcpListener = second.socket("tcp 127.0.0.1:0", never).unwrap();
            assert_eq!(socket.local_addr().unwrap(), address);
        }
        assert!(second.socket::<TcpListener>("other", never).is_err());
        assert_eq!(second.into_copies().len(), 2);
    }
}
