//! A server that answers as a test wants, an outside that reaches it, and notes that can fail.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    thread::JoinHandle,
    time::Duration,
};

use exeat_custody::{
    Error, Issuer, Keep, Landing, Make as _, Material, NoReply, NotIssued, Outside, OwnRequest,
    Reply, Token, Waiting, Want, Work,
    oauth::{ClientAuth, Dpop, Endpoints, Flow, Oauth},
};
use exeat_types::{CredentialId, DeviceFailure, Origin, Secret, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// What the server answers to a path.
#[derive(Clone)]
pub(crate) enum Says {
    /// This status and JSON.
    Json(u16, Value),
    /// These bytes instead of an answer.
    Bytes(Vec<u8>),
    /// Nothing at all, for longer than anybody waits.
    Nothing,
}

/// A server of ours.
pub(crate) struct Server {
    address: SocketAddr,
    says: Arc<Mutex<BTreeMap<String, Says>>>,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that publishes proper metadata and knows nothing else.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (says, seen) = (
            Arc::<Mutex<BTreeMap<String, Says>>>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let (answers, log) = (Arc::clone(&says), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (path, body) = request(&mut stream);
                if path == "/stop" {
                    return;
                }
                let said = answers.lock().unwrap().get(&path).cloned();
                log.lock().unwrap().push((path, body));
                let bytes = match said {
                    None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
                    Some(Says::Json(status, value)) => format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\r\n{value}"
                    )
                    .into_bytes(),
                    Some(Says::Bytes(bytes)) => bytes,
                    Some(Says::Nothing) => {
                        silent.push(stream);
                        continue;
                    }
                };
                // Whoever has read enough goes away.
                stream.write_all(&bytes).unwrap_or_default();
            }
        });
        let server = Self {
            address,
            says,
            seen,
            thread: Some(thread),
        };
        server.says(
            "/.well-known/oauth-authorization-server",
            Says::Json(200, server.metadata()),
        );
        server
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn metadata(&self) -> Value {
        let issuer = self.issuer();
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "introspection_endpoint": format!("{issuer}/introspect"),
            "device_authorization_endpoint": format!("{issuer}/device"),
            "pushed_authorization_request_endpoint": format!("{issuer}/push"),
        })
    }

    pub(crate) fn says(&self, path: &str, what: Says) {
        self.says.lock().unwrap().insert(path.to_owned(), what);
    }

    /// The bodies of every request to a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(to, _)| to == path)
            .map(|(_, body)| body.clone())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(read > 0, "{text}");
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            return (path, body.to_owned());
        }
    }
}

/// Reaches what it is asked for over plain sockets, within bounds.
pub(crate) struct Plain;

impl Plain {
    #[expect(
        clippy::disallowed_methods,
        reason = "the request is written to the wire"
    )]
    fn exchange(request: &OwnRequest) -> Result<Reply, NoReply> {
        let unreached = |_| NoReply::Unreachable;
        let mut stream = TcpStream::connect(request.origin.host_port()).map_err(unreached)?;
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let mut head = format!(
            "{} {} HTTP/1.1\r\ncontent-length: {}\r\n",
            request.method,
            request.target,
            request.body.len()
        );
        for (name, value) in &request.headers {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(request.body.open()).unwrap();
        let mut bytes = Vec::new();
        let read = (&mut stream).take(2 << 20).read_to_end(&mut bytes);
        if read.is_err() {
            return Err(NoReply::Late);
        }
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .ok_or(NoReply::Broken)?;
        let body = bytes.split_off(end + 4);
        if body.len() > 1 << 20 {
            return Err(NoReply::TooLarge);
        }
        let text = String::from_utf8(bytes).map_err(|_cause| NoReply::Broken)?;
        let mut lines = text.trim_end().split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .ok_or(NoReply::Broken)?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            });
        Ok(Reply {
            status: StatusCode::from_bytes(status.as_bytes()).map_err(|_cause| NoReply::Broken)?,
            headers: HeaderMap::from_iter(headers),
            body: Secret::new(body),
        })
    }
}

impl Outside for Plain {
    fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>> {
        Box::pin(async move { Self::exchange(&request) })
    }

    fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply> {
        Self::exchange(&request)
    }

    fn pause(&self, _: Duration) -> Waiting<'_, ()> {
        Box::pin(async {})
    }
}

/// Notes in memory; they can be told to fail.
#[derive(Default)]
pub(crate) struct Notes {
    kept: Mutex<BTreeMap<String, Secret>>,
    pub(crate) full: Mutex<bool>,
}

impl Notes {
    /// What is kept of the one credential.
    #[expect(clippy::disallowed_methods, reason = "what is kept is examined")]
    pub(crate) fn grant(&self) -> Option<Value> {
        let kept = self.kept.lock().unwrap();
        let grant = kept.get("oauth/code")?;
        Some(serde_json::from_slice(grant.open()).unwrap())
    }
}

impl Keep for Notes {
    fn load(&self, name: &str) -> Result<Option<Secret>, Error> {
        Ok(self.kept.lock().unwrap().get(name).map(Secret::duplicate))
    }

    fn store(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        if *self.full.lock().unwrap() {
            return Err(DeviceFailure("no space is left").into());
        }
        let mut kept = self.kept.lock().unwrap();
        kept.insert(name.to_owned(), secret.duplicate());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.kept.lock().unwrap().remove(name);
        Ok(())
    }
}

/// A credential `code` at this server.
pub(crate) fn declared(server: &Server, flow: Flow) -> Oauth {
    Oauth {
        issuer: Some(server.issuer()),
        protected_resource: None,
        endpoints: Endpoints::default(),
        token_hosts: Vec::new(),
        client_id: "exeat".to_owned(),
        auth: ClientAuth::None,
        flow,
        scopes: vec!["read".to_owned()],
        resources: Vec::new(),
        audience: None,
        dpop: Dpop::Off,
        pushed: false,
        landing: Landing {
            host: "127.0.0.1".to_owned(),
            port: None,
            path: "/callback".to_owned(),
        },
        parameters: Vec::new(),
        key_id: None,
        certificate: None,
    }
}

/// Makes it ready.
pub(crate) fn made(oauth: &Oauth) -> Arc<dyn Issuer> {
    let made = oauth.make(Material {
        id: &CredentialId::new("code").unwrap(),
        secret: None,
        signer: None,
    });
    made.unwrap().issuer.unwrap()
}

/// At this second, with nothing spent.
pub(crate) fn work<'a>(keep: &'a Notes, secs: u64) -> Work<'a> {
    Work {
        outside: &Plain,
        keep,
        now: Timestamp::from_millis(secs * 1000),
        spent: None,
    }
}

/// Asks for the token.
pub(crate) fn issue(issuer: &dyn Issuer, work: Work<'_>) -> Result<Token, NotIssued> {
    let want = Want {
        credential: CredentialId::new("code").unwrap(),
        narrowed: Vec::new(),
        origin: Origin::parse("https://api.example").unwrap(),
    };
    done(issuer.issue(&want, work))
}

/// Has a person agree at once.
pub(crate) fn connect(issuer: &dyn Issuer, work: Work<'_>) -> Result<(), NotIssued> {
    let connects = issuer.connects().unwrap();
    let begun = done(connects.begin(Some("http://127.0.0.1:1/callback"), &[], work))?;
    let query = begun.url.split_once('?').unwrap().1;
    let state = query
        .split('&')
        .find(|pair| pair.starts_with("state="))
        .unwrap();
    let brought = format!("code=CANARY-oauth-code&{state}");
    done(connects.land(begun.pending, &brought, work)).map(|_| ())
}

/// Nothing here waits for a reactor: what is not ready never will be.
pub(crate) fn done<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// A token with its name, that is good for an hour and renewed by another of that name.
pub(crate) fn token(name: &str) -> Says {
    Says::Json(
        200,
        json!({
            "access_token": format!("CANARY-oauth-at-{name}"), "token_type": "bearer", "expires_in": 3600,
            "refresh_token": format!("CANARY-oauth-rt-{name}"),
        }),
    )
}
