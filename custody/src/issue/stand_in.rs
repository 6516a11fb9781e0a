//! Stands for the outside world in tests of issuers: answers what it was given, in order, and notes what was asked.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
    time::Duration,
};

use exeat_types::{Secret, Timestamp};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};

use super::{Issuer, Keep, NotIssued, Token, Want, Work};
use crate::{Error, NoReply, Outside, OwnRequest, Reply, Waiting};

/// Seconds since the epoch at which every test happens.
pub(crate) const NOW_SECS: u64 = 1000;

/// A world with nobody in it but these answers.
pub(crate) struct Nobody {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<String>>,
    bodies: Mutex<Vec<String>>,
}

impl Nobody {
    pub(crate) fn answering(replies: Vec<Reply>) -> Self {
        Self {
            replies: Mutex::new(replies.into()),
            asked: Mutex::default(),
            bodies: Mutex::default(),
        }
    }

    /// Method, URL and `Authorization` of each request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The body of each request.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

impl Outside for Nobody {
    fn send(&self, request: OwnRequest) -> Waiting<'_, Result<Reply, NoReply>> {
        Box::pin(std::future::ready(self.send_and_wait(request)))
    }

    #[expect(clippy::disallowed_methods, reason = "a test looks at what was sent")]
    fn send_and_wait(&self, request: OwnRequest) -> Result<Reply, NoReply> {
        let shown = request.headers.get(AUTHORIZATION);
        let shown = shown.map_or("", |value| value.to_str().unwrap());
        let line = format!(
            "{} {}{} {shown}",
            request.method, request.origin, request.target
        );
        self.asked.lock().unwrap().push(line);
        let body = String::from_utf8(request.body.open().to_vec()).unwrap();
        self.bodies.lock().unwrap().push(body);
        self.replies
            .lock()
            .unwrap()
            .pop_front()
            .ok_or(NoReply::Unreachable)
    }

    fn pause(&self, _time: Duration) -> Waiting<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Notes that are kept in memory.
#[derive(Default)]
pub(crate) struct Notes(Mutex<BTreeMap<String, Secret>>);

impl Keep for Notes {
    fn load(&self, name: &str) -> Result<Option<Secret>, Error> {
        Ok(self.0.lock().unwrap().get(name).map(Secret::duplicate))
    }

    fn store(&self, name: &str, secret: &Secret) -> Result<(), Error> {
        self.0
            .lock()
            .unwrap()
            .insert(name.to_owned(), secret.duplicate());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }
}

/// A reply with this status and body.
pub(crate) fn reply(status: u16, body: &str) -> Reply {
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Secret::new(body.as_bytes().to_vec()),
    }
}

/// The whole credential, for this origin.
pub(crate) fn want(origin: &str) -> Want {
    Want {
        credential: "one".parse().unwrap(),
        narrowed: Vec::new(),
        origin: origin.parse().unwrap(),
    }
}

/// Issues with fresh notes, at the one moment of all tests.
pub(crate) fn issue(
    issuer: &dyn Issuer,
    want: &Want,
    outside: &Nobody,
) -> Result<Token, NotIssued> {
    let keep = Notes::default();
    let work = Work {
        outside,
        keep: &keep,
        now: Timestamp::from_millis(NOW_SECS * 1000),
        spent: None,
    };
    now(issuer.issue(want, work))
}

/// The result of a future that waits for nobody.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}
