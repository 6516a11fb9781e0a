//! What the command inside tries. Each probe prints what happened.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    process::ExitCode,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use tokio::signal::unix::{SignalKind, signal};

use crate::{home, kernel};

const WAIT: Duration = Duration::from_secs(10);

/// Runs one probe.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    match words {
        ["connect", address] => println!("{}", said(address)),
        ["udp", address] => udp(address),
        ["raw"] => raw(),
        ["devices"] => devices(),
        ["resolve", name] => println!(
            "{}",
            resolved(name).map_or("no address".to_owned(), |a| a.ip().to_string())
        ),
        ["fetch", name] => println!("{}", said(&resolved(name).unwrap().to_string())),
        ["query-udp", server] => query_udp(server),
        ["query-tcp", server] => query_tcp(server),
        ["status"] => status(),
        ["processes"] => numbers("/proc"),
        ["descriptors"] => numbers("/proc/self/fd"),
        ["catch"] => return catch(),
        ["meet", address] => meet(address),
        ["change", places @ ..] => home::change(places),
        ["sockets", places @ ..] => sockets(places),
        ["calls"] => kernel::calls(),
        ["socket-kinds"] => kernel::socket_kinds(),
        ["old-interface"] => kernel::old_interface(),
        _ => return ExitCode::from(99),
    }
    ExitCode::SUCCESS
}

fn outcome(error: &io::Error) -> String {
    error.kind().to_string()
}

/// What the other side says, without the last line end.
fn said(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let text = TcpStream::connect_timeout(&address, WAIT).and_then(|mut stream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    text.map_or_else(|error| outcome(&error), |text| text.trim_end().to_owned())
}

fn udp(address: &str) {
    let any = if address.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.connect(address).unwrap();
    let sent = socket
        .send(b"hello")
        .and_then(|_| socket.recv(&mut [0; 16]));
    println!(
        "{}",
        sent.map_or_else(|error| outcome(&error), |_| "answered".to_owned())
    );
}

fn raw() {
    let icmp = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP));
    println!("icmp {}", if icmp.is_err() { "refused" } else { "open" });
    let packet = socket(AddressFamily::PACKET, SocketType::RAW, None);
    println!(
        "packet {}",
        if packet.is_err() { "refused" } else { "open" }
    );
}

fn devices() {
    let table = fs::read_to_string("/proc/self/net/dev").unwrap();
    for line in table.lines().skip(2) {
        println!("{}", line.split(':').next().unwrap_or_default().trim());
    }
}

fn resolved(name: &str) -> Option<SocketAddr> {
    (name, 443).to_socket_addrs().ok()?.next()
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x07example\0\0\x01\0\x01";

fn query_udp(server: &str) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.connect(server).unwrap();
    socket.send(QUERY).unwrap();
    let mut reply = [0; 512];
    socket.recv(&mut reply).unwrap();
    println!("answers {}", reply[7]);
}

fn query_tcp(server: &str) {
    let mut stream = TcpStream::connect(server).unwrap();
    let length = u16::try_from(QUERY.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, QUERY].concat()).unwrap();
    let mut reply = [0; 14];
    stream.read_exact(&mut reply).unwrap();
    println!("answers {}", reply[9]);
}

fn status() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status
        .lines()
        .filter(|line| line.starts_with("Cap") || line.starts_with("NoNewPrivs"))
    {
        println!(
            "{}",
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace(':', "")
        );
    }
}

/// The numeric names in a folder, in order; of open files, those that existed before this listing.
fn numbers(folder: &str) {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<u32> = entries
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    names.sort_unstable();
    for name in names {
        if fs::symlink_metadata(format!("{folder}/{name}")).is_ok() {
            println!("{name}");
        }
    }
}

/// Waits for a signal and exits with its number.
fn catch() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup()).unwrap();
        let mut interrupt = signal(SignalKind::interrupt()).unwrap();
        let mut quit = signal(SignalKind::quit()).unwrap();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        println!("waiting");
        io::stdout().flush().unwrap();
        let number = tokio::select! {
            _ = hangup.recv() => 1,
            _ = interrupt.recv() => 2,
            _ = quit.recv() => 3,
            _ = terminate.recv() => 15,
        };
        ExitCode::from(number)
    })
}

fn meet(address: &str) {
    let _listener = TcpListener::bind(address).unwrap();
    println!("bound\n{}", said("203.0.113.1:80"));
}

/// Whether anybody answers at sockets, and whether the command may have its own.
fn sockets(places: &[&str]) {
    for place in places {
        let reached = UnixStream::connect(place).is_ok();
        println!("{}", if reached { "open" } else { "closed" });
    }
    let own = std::env::temp_dir().join(format!("exeat-probe-{}", std::process::id()));
    let listener = UnixListener::bind(&own).unwrap();
    let reached = UnixStream::connect(&own).is_ok();
    println!("own {}", if reached { "open" } else { "closed" });
    drop(listener);
    fs::remove_file(own).unwrap();
}
