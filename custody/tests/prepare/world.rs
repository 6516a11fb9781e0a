//! The credentials, agents and requests of these tests.

use bytes::Bytes;
use exeat_custody::{
    Ask, CredentialSpec, Custody, Kind, Live, Loaded, Prepared, Refused, SecretRef, Shape, Slot,
};
use exeat_types::{AgentId, CredentialId, Origin, Reason, Secret, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const GITHUB: &str = "https://api.github.com";

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

pub(crate) fn id(name: &str) -> CredentialId {
    CredentialId::new(name).unwrap()
}

pub(crate) fn spec(name: &str, kind: Kind, origins: &[&str]) -> CredentialSpec {
    let origins = origins
        .iter()
        .map(|origin| Origin::parse(origin).unwrap())
        .collect();
    let reference = SecretRef::Sealed(name.to_owned());
    CredentialSpec {
        id: id(name),
        kind,
        origins,
        secret: Some(reference),
        shape: Shape::Auto,
    }
}

pub(crate) fn loaded(version: u32) -> Vec<Loaded> {
    let basic = Kind::Basic {
        username: "x-access-token".to_owned(),
    };
    let api_key = Kind::ApiKeyHeader(HeaderName::from_static("x-api-key"));
    let query = Kind::ApiKeyQuery("key".to_owned());
    vec![
        Loaded::new(
            spec("github", Kind::Bearer, &[GITHUB]),
            secret("CANARY-prepare-github"),
            version,
        ),
        Loaded::new(
            spec("admin", Kind::Bearer, &[GITHUB]),
            secret("CANARY-prepare-admin"),
            version,
        ),
        Loaded::new(
            spec("git", basic, &["https://github.com"]),
            secret("CANARY-prepare-git"),
            version,
        ),
        Loaded::new(
            spec("anthropic", api_key, &["https://api.anthropic.com"]),
            secret("CANARY-prepare-anthropic"),
            version,
        ),
        Loaded::new(
            spec("maps", query, &["https://maps.example"]),
            secret("CANARY/prepare&maps=\"1\""),
            version,
        ),
    ]
}

pub(crate) fn custody_at(version: u32) -> Custody {
    let agents = [agent("claude"), agent("codex")];
    Custody::build(
        loaded(version),
        &agents,
        &secret("CANARY-placeholder-key"),
        &Live::new().unwrap(),
    )
    .unwrap()
}

pub(crate) fn custody() -> Custody {
    custody_at(1)
}

/// A request as the agent `claude` sends it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) origin: &'static str,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<String>,
    pub(crate) credential: Option<&'static str>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) agent: &'static str,
    pub(crate) now: Timestamp,
}

pub(crate) fn call(origin: &'static str, credential: Option<&'static str>) -> Call {
    let path = "/repos/acme/site/issues".to_owned();
    Call {
        origin,
        path,
        query: None,
        headers: Vec::new(),
        body: None,
        credential,
        slots: Vec::new(),
        agent: "claude",
        now: Timestamp::from_millis(0),
    }
}

pub(crate) fn github() -> Call {
    call(GITHUB, Some("github"))
}

impl Call {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn query(self, query: impl Into<String>) -> Self {
        Self {
            query: Some(query.into()),
            ..self
        }
    }

    pub(crate) fn body(self, body: impl Into<String>) -> Self {
        Self {
            body: Some(body.into()),
            ..self
        }
    }

    pub(crate) fn path(self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self
        }
    }

    pub(crate) fn slot(mut self, slot: Slot) -> Self {
        self.slots.push(slot);
        self
    }

    pub(crate) fn at(self, seconds: u64) -> Self {
        Self {
            now: Timestamp::from_millis(seconds * 1000),
            ..self
        }
    }

    pub(crate) fn by(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    pub(crate) fn prepare(&self, custody: &Custody) -> Result<Prepared, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let credential = self.credential.map(id);
        custody.prepare(&Ask {
            agent: &agent(self.agent),
            origin: &Origin::parse(self.origin).unwrap(),
            path: &self.path,
            query: self.query.as_deref(),
            headers: &headers,
            body: self.body.clone().map(Bytes::from).as_ref(),
            method: &http::Method::POST,
            others: &[],
            token: None,
            credential: credential.as_ref(),
            slots: &self.slots,
            now: self.now,
        })
    }

    /// What leaves: header lines, query and body after the change.
    #[track_caller]
    pub(crate) fn sent(&self, custody: &Custody) -> Sent {
        let prepared = self.prepare(custody).unwrap();
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        for (name, value) in &prepared.headers {
            headers.retain(|(other, _)| other != name.as_str());
            headers.extend(value.iter().map(|value| {
                assert!(value.is_sensitive(), "{name}");
                (name.to_string(), value.to_str().unwrap().to_owned())
            }));
        }
        let query = prepared.query.unwrap_or(self.query.clone());
        let body = prepared
            .body
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
            .or(self.body.clone());
        Sent {
            path: prepared.path.unwrap_or(self.path.clone()),
            headers,
            query,
            body,
        }
    }

    #[track_caller]
    pub(crate) fn stale(&self, custody: &Custody) {
        let refused = self.prepare(custody).err().expect("it must be refused");
        assert_eq!(refused, Refused::Stale);
        assert_eq!(refused.reason(), Reason::PlaceholderStale);
    }

    #[track_caller]
    pub(crate) fn misused(&self, custody: &Custody, place: &str) {
        let refused = self
            .prepare(custody)
            .err()
            .expect("a placeholder in the wrong place must be refused");
        assert_eq!(
            refused,
            Refused::Misused {
                what: place.to_owned()
            }
        );
        assert_eq!(refused.reason(), Reason::PlaceholderMisused);
    }
}

pub(crate) struct Sent {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) query: Option<String>,
    pub(crate) body: Option<String>,
}

impl Sent {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

pub(crate) fn own(custody: &Custody, credential: &str) -> String {
    custody
        .placeholder(&agent("claude"), &id(credential))
        .unwrap()
        .to_owned()
}

pub(crate) fn foreign(custody: &Custody, credential: &str) -> String {
    custody
        .placeholder(&agent("codex"), &id(credential))
        .unwrap()
        .to_owned()
}
