//! One request to a tool of the gate, from inside: over the proxy that the environment names, or directly, as the network
//! of a sandbox leads there anyway. The certificate is checked like that of any server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use exeat_types::{Origin, Scheme};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;

use crate::env;

/// Longest wait for a byte; somebody may be typing a passphrase meanwhile.
const WAIT: Duration = Duration::from_secs(600);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Longest answer of a proxy to CONNECT.
const TUNNEL_BYTES_MAX: usize = 8 * 1024;

/// Sends bytes to a tool and gives what it answers; a refusal is an error that says why.
pub(super) fn post(url: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (origin, path) = split(url)?;
    let tcp = connect(&origin)?;
    let name =
        ServerName::try_from(origin.host.to_string()).context("the tool has no proper host")?;
    let connection = ClientConnection::new(Arc::new(trust()?), name).context("cannot speak TLS")?;
    let mut tls = StreamOwned::new(connection, tcp);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        origin.authority(),
        body.len()
    );
    tls.write_all(head.as_bytes())
        .and_then(|()| tls.write_all(body))
        .context("cannot send to the gate")?;
    let mut answer = Vec::new();
    let read = (&mut tls).take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    match read {
        // A peer that closes without a word of TLS: what arrived is judged by its length.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            return Err(error).context("the gate broke off");
        }
        Ok(_) | Err(_) => {}
    }
    judge(&answer)
}

fn split(url: &str) -> anyhow::Result<(Origin, String)> {
    let rest = url
        .strip_prefix("https://")
        .context("expected an https URL")?;
    let (authority, path) = rest.split_once('/').context("expected a path")?;
    let origin = Origin::parse(&format!("https://{authority}"))?;
    if path
        .bytes()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        bail!("expected a plain path");
    }
    Ok((origin, format!("/{path}")))
}

fn connect(origin: &Origin) -> anyhow::Result<TcpStream> {
    let proxy = ["https_proxy", "HTTPS_PROXY"]
        .into_iter()
        .find_map(env::variable);
    let tcp = match proxy {
        None => TcpStream::connect((origin.host.to_string(), origin.port)),
        Some(proxy) => {
            let proxy = proxy
                .into_string()
                .map_err(|_odd| anyhow!("`HTTPS_PROXY` is not text"))?;
            return tunnel(&proxy, origin);
        }
    };
    bounded(tcp.with_context(|| format!("cannot reach {origin}"))?)
}

fn bounded(tcp: TcpStream) -> anyhow::Result<TcpStream> {
    tcp.set_read_timeout(Some(WAIT))?;
    tcp.set_write_timeout(Some(WAIT))?;
    Ok(tcp)
}

fn tunnel(proxy: &str, origin: &Origin) -> anyhow::Result<TcpStream> {
    let rest = proxy
        .strip_prefix("http://")
        .context("expected an http proxy")?;
    let rest = rest.trim_end_matches('/');
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let at = Origin::parse(&format!("{}://{authority}", Scheme::Http.name()))?;
    let host = at.host.to_string();
    let tcp = TcpStream::connect((host.trim_matches(['[', ']']), at.port));
    let mut tcp = bounded(tcp.context("cannot reach the gate")?)?;
    let target = format!("{}:{}", origin.host, origin.port);
    let who = user.map(|user| format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(user)));
    let ask = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
        who.unwrap_or_default()
    );
    tcp.write_all(ask.as_bytes())
        .context("cannot ask the gate")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).context("the gate broke off")?;
        head.extend(byte);
        if head.len() > TUNNEL_BYTES_MAX {
            bail!("the gate says too much");
        }
    }
    match status(&head) {
        Some(200) => Ok(tcp),
        _ => bail!("the gate does not lead to {origin}"),
    }
}

fn trust() -> anyhow::Result<ClientConfig> {
    let bundle = env::variable("SSL_CERT_FILE").map(PathBuf::from);
    let bundle = bundle.unwrap_or_else(|| PathBuf::from(exeat_sandbox::BUNDLE));
    let certificates = CertificateDer::pem_file_iter(&bundle)
        .with_context(|| format!("cannot read the roots in `{}`", bundle.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot speak TLS")?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// The body of a good answer, whole.
fn judge(answer: &[u8]) -> anyhow::Result<Vec<u8>> {
    let odd = || anyhow!("the gate answered with something that is not HTTP");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(odd)?;
    let (head, body) = answer
        .split_at_checked(end.saturating_add(4))
        .ok_or_else(odd)?;
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: Option<usize> = length.and_then(|length| length.trim().parse().ok());
    if length != Some(body.len()) {
        bail!("the answer of the gate is cut off");
    }
    if status(head) == Some(200) {
        return Ok(body.to_vec());
    }
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let reason = said("type").rsplit(':').next().unwrap_or_default();
    bail!(
        "{}, says the gate ({reason}); {}",
        said("detail"),
        said("hint")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_counts() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(judge(ok).unwrap(), b"{}");
        for wrong in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n{}",
            b"",
        ] {
            assert!(judge(wrong).is_err());
        }
        assert!(split("https://tools.exeat.internal/sign").is_ok());
        for wrong in ["http://a/b", "https://a", "https://a/b c", "https://a/\r\n"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
