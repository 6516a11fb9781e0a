//! Tells a service manager that started the gate that it serves, and which process it is: after `exeat upgrade` another one
//! is, and a manager that does not know would end it together with the old one.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
};

use crate::env;

/// Says that this process serves, if somebody wants to know. A manager that cannot be told is no reason not to serve.
///
/// # Spec
/// `sd_notify(3)`: `NOTIFY_SOCKET` names a datagram socket, one in the abstract namespace when it begins with `@`.
pub(crate) fn serves() {
    let Some(socket) = env::variable("NOTIFY_SOCKET") else {
        return;
    };
    let text = format!("READY=1\nMAINPID={}\n", std::process::id());
    if let Err(error) = tell(&socket, &text) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

fn tell(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(Path::new(socket))?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(text.as_bytes(), &address)
        .map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let name = format!("exeat-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ];
        for (manager, socket) in sockets {
            tell(&socket, "READY=1\n").unwrap();
            let mut heard = [0; 64];
            let size = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..size], b"READY=1\n");
        }
        assert!(tell("relative/nowhere".as_ref(), "READY=1\n").is_err());
    }
}
