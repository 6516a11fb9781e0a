//! The access key: its id, its secret, and the token of its session if it is of a session.

use aws_credential_types::Credentials;
use exeat_types::{Secret, Timestamp};

/// A longest id of an access key, by the rules of IAM.
const ID_BYTES_MAX: usize = 128;

/// An access key.
pub(crate) struct Keys {
    credentials: Credentials,
    expires: Option<Timestamp>,
    parts: Vec<Secret>,
}

/// What programs print that hand out credentials of sessions (`credential_process`).
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl Keys {
    /// Reads a secret: the secret access key alone, or the JSON that a `credential_process` prints.
    #[expect(clippy::disallowed_methods, reason = "the key is made of the secret")]
    pub(crate) fn read(id: Option<&str>, secret: &Secret) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(secret.open()).map_err(|_cause| "has no text as secret")?;
        if !text.trim_start().starts_with('{') {
            let id = id.ok_or("has no `access-key-id`")?;
            return Self::new(id, text, None, None);
        }
        let printed: Printed = serde_json::from_str(text)
            .map_err(|_cause| "has a secret that is not what a `credential_process` prints")?;
        let expires = match printed.expiration.as_deref().map(str::parse) {
            None => None,
            Some(Ok(expires)) => Some(expires),
            Some(Err(_)) => return Err("has a secret whose expiration is no time"),
        };
        let Printed {
            version,
            access_key_id,
            secret_access_key,
            session_token,
            ..
        } = printed;
        if version != 1 {
            return Err("has a secret of a version that is not known");
        }
        if id.is_some_and(|id| id != access_key_id) {
            return Err("has an `access-key-id` that is not that of its secret");
        }
        let mut keys = Self::new(
            &access_key_id,
            &secret_access_key,
            session_token.as_deref(),
            expires,
        )?;
        keys.parts.push(Secret::new(secret_access_key.into_bytes()));
        keys.parts
            .extend(session_token.map(|token| Secret::new(token.into_bytes())));
        Ok(keys)
    }

    /// The keys of a session, in parts.
    #[expect(clippy::disallowed_methods, reason = "the key is made of the secret")]
    pub(crate) fn of_session(
        id: &Secret,
        secret: &Secret,
        session: Option<&Secret>,
    ) -> Result<Self, &'static str> {
        let text = |secret: &'_ Secret| std::str::from_utf8(secret.open()).map(str::to_owned);
        let wrong = |_cause| "has keys that are no text";
        let session = session.map(text).transpose().map_err(wrong)?;
        let (id, secret) = (text(id).map_err(wrong)?, text(secret).map_err(wrong)?);
        Self::new(&id, &secret, session.as_deref(), None)
    }

    fn new(
        id: &str,
        secret: &str,
        session: Option<&str>,
        expires: Option<Timestamp>,
    ) -> Result<Self, &'static str> {
        let plain =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain(id) || id.contains(['/', ',', '=']) || id.len() > ID_BYTES_MAX {
            return Err("has an `access-key-id` that cannot be one");
        }
        if !plain(secret) || !session.is_none_or(plain) {
            return Err("has a secret that cannot be a key of AWS");
        }
        Ok(Self {
            credentials: Credentials::new(id, secret, session.map(str::to_owned), None, "exeat"),
            expires,
            parts: Vec::new(),
        })
    }

    /// What the crate signs with.
    pub(super) fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// The key that chunks of a body are signed with on one day.
    pub(super) fn secret(&self) -> &str {
        self.credentials.secret_access_key()
    }

    /// Whether its session has ended.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// The parts of the secret that are secrets by themselves, when it holds more than one.
    pub(super) fn take_parts(&mut self) -> Vec<Secret> {
        std::mem::take(&mut self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: Option<&str>, secret: &str, expect: Result<(&str, bool), &str>) {
        let secret = Secret::new(secret.as_bytes().to_vec());
        let got = Keys::read(id, &secret);
        let got = got.as_ref().map(|keys| {
            let credentials = &keys.credentials;
            (
                credentials.access_key_id(),
                credentials.session_token().is_some(),
            )
        });
        assert_eq!(got.map_err(|problem| *problem), expect);
    }

    #[test]
    fn a_key_is_a_secret_with_its_id_or_what_a_credential_process_prints() {
        check(Some("AKID"), "CANARY-aws-1", Ok(("AKID", false)));
        check(None, "CANARY-aws-1", Err("has no `access-key-id`"));
        check(
            Some("AK/ID"),
            "CANARY-aws-1",
            Err("has an `access-key-id` that cannot be one"),
        );
        check(
            Some("AKID"),
            "CANARY aws",
            Err("has a secret that cannot be a key of AWS"),
        );
        let printed = r#"{"Version":1,"AccessKeyId":"ASIA","SecretAccessKey":"CANARY-aws-2","SessionToken":"CANARY-aws-3","Expiration":"2026-01-31T12:00:00Z"}"#;
        check(None, printed, Ok(("ASIA", true)));
        check(
            Some("AKID"),
            printed,
            Err("has an `access-key-id` that is not that of its secret"),
        );
        check(
            None,
            &printed.replace(":1,", ":2,"),
            Err("has a secret of a version that is not known"),
        );
        check(
            None,
            &printed.replace("2026-01", "soon"),
            Err("has a secret whose expiration is no time"),
        );
        let secret = Secret::new(printed.as_bytes().to_vec());
        let mut keys = Keys::read(None, &secret).unwrap();
        assert_eq!(keys.take_parts().len(), 2);
        let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert!(keys.has_ended(noon) && !keys.has_ended(Timestamp::from_millis(noon.millis() - 1)));
    }
}
