//! Names: every name server is the gate, and it answers policy, not the world.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
};

use super::{
    Check,
    network::{V4, WAIT, exchange, sends_nothing_away},
};

const DNS: u16 = 53;
/// What a query asks for.
const TYPES: [(&str, u16); 7] = [
    ("A", 1),
    ("AAAA", 28),
    ("TXT", 16),
    ("MX", 15),
    ("NULL", 10),
    ("HTTPS", 65),
    ("ANY", 255),
];
/// A name that no tool names and that nobody can register (RFC 6761), with room for a secret.
const NAME: [&str; 3] = ["4558454154-4341-4e415259", "doctor", "test"];

type Ask = fn(SocketAddr, &[u8]) -> io::Result<Vec<u8>>;

/// Tries all of them.
pub(super) fn probe() -> Vec<Check> {
    let ways: [(&str, Ask); 2] = [("dns-udp", over_udp), ("dns-tcp", over_tcp)];
    ways.map(|(id, ask)| {
        if !sends_nothing_away() {
            return Check::open(id, "not tried, as it could leave this machine");
        }
        let found: Vec<String> = TYPES
            .iter()
            .filter_map(|(name, kind)| {
                let problem = problem(ask, V4, *kind)?;
                Some(format!("{name} asked of {V4}: {problem}"))
            })
            .collect();
        let closed = format!(
            "{V4} is answered by the gate, with no record, for {} types",
            TYPES.len()
        );
        Check::of(id, &found, closed)
    })
    .into()
}

/// What is wrong with the answer of a server.
fn problem(ask: Ask, server: IpAddr, kind: u16) -> Option<String> {
    let query = query(kind);
    match ask(SocketAddr::new(server, DNS), &query) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
        Err(error) => Some(format!("not answered by the gate: {error}")),
        Ok(answer) => records(&query, &answer),
    }
}

/// An answer holds our identifier, is a response, and has no record in any section but for the extension record (RFC 6891).
fn records(query: &[u8], answer: &[u8]) -> Option<String> {
    let Some([a, b, flags, _, _, _, ..]) = answer.first_chunk::<12>() else {
        return Some("a short answer".to_owned());
    };
    if query.first_chunk::<2>() != Some(&[*a, *b]) || flags & 0x80 == 0 {
        return Some("an answer to something else".to_owned());
    }
    let count = |at: usize| {
        let pair = answer.get(at..).and_then(<[u8]>::first_chunk::<2>);
        pair.map_or(u16::MAX, |pair| u16::from_be_bytes(*pair))
    };
    let (answers, authorities) = (count(6), count(8));
    (answers > 0 || authorities > 0)
        .then(|| format!("{answers} answers and {authorities} authorities"))
}

fn query(kind: u16) -> Vec<u8> {
    // A fixed identifier, recursion desired, one question.
    let mut query = vec![0x45, 0x58, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME {
        query.push(u8::try_from(label.len()).unwrap_or_default());
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    query
}

fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    exchange(server, query, WAIT)
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &[u8], problem: Option<&str>) {
        assert_eq!(records(&query(1), answer).as_deref(), problem);
    }

    #[test]
    fn only_an_empty_answer_to_our_question_is_fine() {
        check(&[0x45, 0x58, 0x81, 3, 0, 1, 0, 0, 0, 0, 0, 1], None);
        check(
            &[0x45, 0x58, 0x81, 0, 0, 1, 0, 1, 0, 0, 0, 0],
            Some("1 answers and 0 authorities"),
        );
        check(
            &[0x45, 0x58, 0x81, 3, 0, 1, 0, 0, 0, 1, 0, 0],
            Some("0 answers and 1 authorities"),
        );
        let other = Some("an answer to something else");
        check(&[0x45, 0x59, 0x81, 3, 0, 1, 0, 0, 0, 0, 0, 0], other);
        check(&[0x45, 0x58, 1, 3, 0, 1, 0, 0, 0, 0, 0, 0], other);
        check(&[0x45, 0x58], Some("a short answer"));
    }
}
