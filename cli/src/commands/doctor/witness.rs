//! Listeners outside of every sandbox, on loopback and in the file system: who reaches one has got out.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use exeat_sandbox::doctor::{Check, Errand};
use exeat_types::random_bytes;
use tempfile::{Builder, NamedTempFile, TempDir};

/// What listens. Dropping it ends that and removes the sockets.
pub(super) struct Witness {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    name: String,
    named: UnixListener,
    sockets: Vec<NamedTempFile<UnixListener>>,
    _folder: TempDir,
}

impl Witness {
    /// Listens on every kind of socket: unix sockets directly in the folder for temporary files, in a folder there, and
    /// in `folders`, as far as those exist.
    pub(super) fn open(folders: &[&Path]) -> anyhow::Result<Self> {
        let noise: [u8; 8] = random_bytes()?;
        let name = format!("exeat-doctor-{:016x}", u64::from_ne_bytes(noise));
        let address = UnixAddress::from_abstract_name(&name).context("naming a socket")?;
        let named = UnixListener::bind_addr(&address).context("listening on an abstract socket")?;
        named.set_nonblocking(true)?;
        let folder = Builder::new().prefix("exeat-doctor-").tempdir()?;
        let temporary = std::env::temp_dir();
        let places = [temporary.as_path(), folder.path()];
        let places = places.into_iter().chain(folders.iter().copied());
        let sockets = places.filter(|place| place.is_dir()).map(socket_in);
        let sockets = sockets
            .collect::<io::Result<_>>()
            .context("listening on a unix socket")?;
        Ok(Self {
            tcp: both(TcpListener::bind).context("listening on loopback")?,
            udp: both(UdpSocket::bind).context("listening on loopback")?,
            name,
            named,
            sockets,
            _folder: folder,
        })
    }

    /// Where the TCP listeners are.
    pub(super) fn tcp(&self) -> Vec<SocketAddr> {
        self.tcp.iter().flat_map(TcpListener::local_addr).collect()
    }

    /// Tells the probes where everything is.
    pub(super) fn tell(&self, errand: &mut Errand) {
        errand.tcp.extend(self.tcp());
        errand
            .udp
            .extend(self.udp.iter().flat_map(UdpSocket::local_addr));
        errand.abstract_sockets.push(self.name.clone());
        errand.sockets.extend(
            self.sockets
                .iter()
                .map(|socket| socket.path().to_path_buf()),
        );
    }

    /// An open check for each kind of listener that somebody reached since the last time.
    pub(super) fn visits(&self) -> anyhow::Result<Vec<Check>> {
        let mut visits = Vec::new();
        for listener in &self.tcp {
            listener.set_nonblocking(true)?;
            while let Ok((_, from)) = listener.accept() {
                visits.push(Check::open("loopback-tcp", format!("{from} got through")));
            }
        }
        for socket in &self.udp {
            socket.set_nonblocking(true)?;
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                visits.push(Check::open("loopback-udp", format!("{from} got through")));
            }
        }
        while self.named.accept().is_ok() {
            visits.push(Check::open("unix-abstract", "a connection got through"));
        }
        for socket in &self.sockets {
            while socket.as_file().accept().is_ok() {
                let path = socket.path().display();
                visits.push(Check::open("unix-sockets", format!("`{path}` was reached")));
            }
        }
        Ok(visits)
    }
}

/// One of each for the two loopback addresses; a machine without IPv6 has one.
fn both<T>(bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<Vec<T>> {
    let four = bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0).into())?;
    let six = bind((IpAddr::V6(Ipv6Addr::LOCALHOST), 0).into());
    Ok(std::iter::once(four).chain(six).collect())
}

fn socket_in(folder: &Path) -> io::Result<NamedTempFile<UnixListener>> {
    let bind = |path: &Path| {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    Builder::new()
        .prefix("exeat-doctor-")
        .suffix(".sock")
        .make_in(folder, bind)
}

/// Folders, other than those for temporary files, in which programs of a user listen.
pub(super) fn folders_of_sockets(runtime: Option<PathBuf>) -> Vec<PathBuf> {
    runtime
        .into_iter()
        .filter(|path| path.is_absolute())
        .collect()
}
