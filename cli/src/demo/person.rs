//! The person of the tour: talks to the console over HTTP as a browser does, with a virtual passkey in hand.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::authenticator::Authenticator;

/// How long the console may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who is signed in.
pub(super) struct Person {
    authenticator: Authenticator,
    origin: String,
    cookie: String,
    csrf: String,
}

impl Person {
    /// Enrols a virtual passkey with the page that `exeat console enroll` prints.
    pub(super) fn enrol(url: &str, code: &str) -> anyhow::Result<Self> {
        let (origin, _) = url
            .split_once("/enroll")
            .context("not a page to enrol on")?;
        let mut person = Self {
            authenticator: Authenticator::new()?,
            origin: origin.to_owned(),
            cookie: String::new(),
            csrf: String::new(),
        };
        let asked = person.post("/enroll/begin", &json!({ "code": code }))?;
        let options = asked.get("publicKey").context("no options")?;
        let made = json!({
            "ceremony": asked.get("ceremony"),
            "device": "Virtual passkey of the tour",
            "registration": person.authenticator.make(options, origin)?,
        });
        person.post("/enroll/finish", &made)?;
        let (_, page) = person.exchange("GET", "/approvals", None)?;
        let csrf = page.split_once("name=\"exeat-csrf\" content=\"");
        let csrf = csrf.and_then(|(_, rest)| rest.split_once('"'));
        let (csrf, _) = csrf.context("the console let nobody in")?;
        person.csrf = csrf.to_owned();
        Ok(person)
    }

    /// Approves a question once.
    pub(super) fn approve(&mut self, id: &str) -> anyhow::Result<()> {
        let path = format!("/approvals/{id}");
        let asked = self.post(&format!("{path}/challenge"), &json!({ "extent": "once" }))?;
        let options = asked.get("publicKey").context("no options")?;
        let assertion = self.authenticator.sign(options, &self.origin)?;
        let answer = json!({ "extent": "once", "assertion": assertion });
        self.post(&format!("{path}/grant"), &answer).map(drop)
    }

    fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, text) = self.exchange("POST", path, Some(&body.to_string()))?;
        if !(200..300).contains(&status) {
            bail!("the console answered {status} to {path}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// One request on a connection of its own: status and body. Takes the cookie that comes back.
    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<(u16, String)> {
        let host = self.origin.trim_start_matches("http://");
        let port: u16 = host.rsplit(':').next().unwrap_or_default().parse()?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).context("reaching the console")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: {}\r\nconnection: close\r\n\
             content-type: application/json\r\nexeat-csrf: {}\r\ncookie: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.origin,
            self.csrf,
            self.cookie,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the console answered nothing")?;
        let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
        for line in head.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("set-cookie") {
                let cookie = value.trim().split(';').next();
                self.cookie = cookie.unwrap_or_default().to_owned();
            }
        }
        Ok((status, body.to_owned()))
    }
}
