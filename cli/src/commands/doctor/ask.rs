//! One question to the gate from inside a sandbox, and whether its answer is a refusal.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use exeat_sandbox::EXPLICIT_PORT;
use exeat_types::{Fault, Reason};

/// The explicit proxy inside.
pub(super) const PROXY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), EXPLICIT_PORT);
/// How long an answer may take.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// What begins the type of every refusal of the gate.
const REASON: &str = "urn:exeat:reason:";
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How something was refused, or what happened instead.
pub(super) type Verdict = Result<String, String>;

/// Sends bytes and judges what comes back.
pub(super) fn ask(to: SocketAddr, request: &str) -> Verdict {
    match exchange(to, request.as_bytes()) {
        Ok(answer) => judge(&answer),
        Err(error) => failed(&error),
    }
}

/// Asks the explicit proxy for a tunnel.
pub(super) fn connect(authority: &str) -> Verdict {
    ask(
        PROXY,
        &format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    )
}

/// Asks the explicit proxy for a page.
pub(super) fn get(url: &str, host: &str) -> Verdict {
    ask(PROXY, &request(url, host))
}

/// A request for a page.
pub(super) fn request(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// A connection that was not taken, or broken off without a word, is a refusal; silence is not.
pub(super) fn failed(error: &io::Error) -> Verdict {
    match error.kind() {
        ErrorKind::ConnectionRefused => Ok("connection refused".to_owned()),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            Ok("connection closed".to_owned())
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err("no answer".to_owned()),
        _ => Err(error.to_string()),
    }
}

/// Whether an answer is a refusal of the gate's own, on the agent's account.
pub(super) fn judge(answer: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(answer);
    if text.is_empty() {
        return Ok("connection closed".to_owned());
    }
    let Some(status) = status(&text) else {
        return Err("answered with something that is not HTTP".to_owned());
    };
    let code = text.split_once(REASON).map(|(_, rest)| {
        let end = rest.find(|byte: char| !byte.is_ascii_lowercase() && byte != '-');
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    });
    match code.and_then(Reason::from_code) {
        Some(reason) => match reason.fault() {
            Fault::Agent | Fault::Policy => Ok(reason.code().to_owned()),
            Fault::Operator | Fault::Upstream | Fault::Internal => {
                Err(format!("the gate went on with it and ended at `{reason}`"))
            }
        },
        None if status == 400 => Ok("400".to_owned()),
        None => Err(format!("answered with {status}")),
    }
}

fn status(text: &str) -> Option<u16> {
    let line = text.lines().next()?;
    line.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()
}

fn exchange(to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&answer) && answer.len() < ANSWER_BYTES_MAX {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            // What came before is the answer.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// Whether a response has its head and as much of a body as that says.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    length.is_none_or(|length: usize| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expect: Result<&str, &str>) {
        let expect = expect.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(judge(answer.as_bytes()), expect, "{answer}");
    }

    #[test]
    fn only_a_refusal_of_the_gate_itself_counts() {
        let problem = |status: u16, code: &str| {
            format!("HTTP/1.1 {status} No\r\n\r\n{{\"type\":\"urn:exeat:reason:{code}\"}}")
        };
        check(&problem(403, "tool-unknown"), Ok("tool-unknown"));
        check(&problem(421, "target-mismatch"), Ok("target-mismatch"));
        check("", Ok("connection closed"));
        check(
            &problem(502, "upstream-unreachable"),
            Err("the gate went on with it and ended at `upstream-unreachable`"),
        );
        check(&problem(403, "no-such-reason"), Err("answered with 403"));
        check("HTTP/1.1 200 OK\r\n\r\n", Err("answered with 200"));
        check(
            "220 smtp ready\r\n",
            Err("answered with something that is not HTTP"),
        );
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_whole(b"HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\nab"));
        assert!(is_whole(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nabc"));
    }
}
