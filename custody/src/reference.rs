//! References to secrets, as configuration writes them: a store and a name, never the secret itself.

use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt as _,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use exeat_types::{Malformed, Secret, limits::SECRET_COMMAND_TIMEOUT};

use crate::{
    Error, Keyring, Vault, VaultClient, VaultPlace, command, custody::check_size, vault::check_name,
};

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// `sealed:NAME`: in the vault.
    Sealed(String),
    /// `keyring:NAME`: in the keyring of the operating system.
    Keyring(String),
    /// `vault:MOUNT/PATH#FIELD`: in a HashiCorp Vault server, KV version 2.
    Server(VaultPlace),
    /// `env:NAME`: in the gate's environment; for development.
    Env(String),
    /// `cmd:PROGRAM ARGUMENT ...`: what the program prints. No shell is involved.
    Cmd(Vec<String>),
}

/// Secrets that are sealed, by name.
pub trait Sealed {
    /// The secret of this name and its version.
    ///
    /// # Errors
    /// When there is none, or it was removed.
    fn unsealed(&self, name: &str) -> Result<(Secret, u32), Error>;
}

impl Sealed for Vault {
    fn unsealed(&self, name: &str) -> Result<(Secret, u32), Error> {
        self.get(name)
    }
}

/// A vault that others use too: it is held for each secret alone, never while another store is asked.
impl Sealed for Mutex<Vault> {
    fn unsealed(&self, name: &str) -> Result<(Secret, u32), Error> {
        self.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
    }
}

/// The stores that references point into.
pub struct Stores<'a> {
    /// The vault, if it is open.
    pub vault: Option<&'a dyn Sealed>,
    /// The keyring of the operating system.
    pub keyring: &'a dyn Keyring,
    /// The Vault server, if one is configured and the gate runs.
    pub server: Option<&'a VaultClient>,
    /// How the environment of the gate is read.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
}

impl SecretRef {
    /// Fetches the secret and its version; stores without versions say 1. May block: call it off the reactor.
    ///
    /// # Errors
    /// When the store fails, has no such secret, or what it has is too short or too long to be one.
    pub fn resolve(&self, stores: &Stores<'_>) -> Result<(Secret, u32), Error> {
        let (name, secret, version) = self.fetch(stores)?;
        check_size(name, &secret)?;
        Ok((secret, version))
    }

    /// The same for a secret that is sent nowhere, so that it need not be found in responses and may be short: a PIN.
    ///
    /// # Errors
    /// When the store fails, or has no such secret.
    pub fn resolve_unsent(&self, stores: &Stores<'_>) -> Result<(Secret, u32), Error> {
        let (_name, secret, version) = self.fetch(stores)?;
        Ok((secret, version))
    }

    fn fetch(&self, stores: &Stores<'_>) -> Result<(&str, Secret, u32), Error> {
        let absent = |name: &str, store| Error::SecretAbsent {
            name: name.to_owned(),
            store,
        };
        Ok(match self {
            Self::Sealed(name) => {
                let vault = stores
                    .vault
                    .ok_or_else(|| Error::VaultClosed { name: name.clone() })?;
                let (secret, version) = vault.unsealed(name)?;
                (name.as_str(), secret, version)
            }
            Self::Keyring(name) => {
                let secret = stores
                    .keyring
                    .read(name)?
                    .ok_or_else(|| absent(name, "the keyring"))?;
                (name.as_str(), secret, 1)
            }
            Self::Server(place) => {
                let client = stores.server.ok_or_else(|| Error::VaultServer {
                    name: place.to_string(),
                    problem: "there is no `[vault]` in the configuration, or no gate runs"
                        .to_owned(),
                })?;
                let (secret, version) = client.read(place)?;
                (place.as_str(), secret, version)
            }
            Self::Env(name) => {
                let value =
                    (stores.environment)(name).ok_or_else(|| absent(name, "the environment"))?;
                (name.as_str(), Secret::new(value.into_vec()), 1)
            }
            Self::Cmd(words) => {
                let program = words.first().map_or("", String::as_str);
                (program, command::run(words, SECRET_COMMAND_TIMEOUT)?, 1)
            }
        })
    }
}

impl FromStr for SecretRef {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        // The text may be a secret that was written where a reference belongs, so it is never repeated.
        let wrong = |problem: &str| Malformed::new("secret", problem);
        let known = "expected `sealed:NAME`, `keyring:NAME`, `vault:MOUNT/PATH#FIELD`, `env:NAME` or `cmd:PROGRAM ARGUMENT ...`, not the secret itself";
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong(known))?;
        if rest.is_empty() && matches!(scheme, "sealed" | "keyring" | "vault" | "env" | "cmd") {
            return Err(wrong(&format!("expected something after `{scheme}:`")));
        }
        match scheme {
            "sealed" => {
                check_name(rest).map_err(|problem| wrong(&problem.to_string()))?;
                Ok(Self::Sealed(rest.to_owned()))
            }
            "keyring" => Ok(Self::Keyring(rest.to_owned())),
            "vault" => match VaultPlace::parse(rest) {
                Some(place) => Ok(Self::Server(place)),
                None => Err(wrong("expected `vault:MOUNT/PATH#FIELD`")),
            },
            "env" if rest.contains(['=', '\0']) => {
                Err(wrong("expected the name of an environment variable"))
            }
            "env" => Ok(Self::Env(rest.to_owned())),
            "cmd" => words(rest).map(Self::Cmd).map_err(wrong),
            _ => Err(wrong(known)),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed(name) => write!(f, "sealed:{name}"),
            Self::Keyring(name) => write!(f, "keyring:{name}"),
            Self::Server(place) => write!(f, "vault:{place}"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Cmd(words) => {
                f.write_str("cmd:")?;
                for (place, word) in words.iter().enumerate() {
                    let gap = if place == 0 { "" } else { " " };
                    write!(f, "{gap}{}", quoted(word))?;
                }
                Ok(())
            }
        }
    }
}

/// A word as [`words`] reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Splits like a shell does, with quotes and backslashes, but expands nothing: what would need a shell is refused.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    const UNCLOSED: &str = "a quote in the command is not closed";
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => loop {
                let word = word.get_or_insert_default();
                match rest.next().ok_or(UNCLOSED)? {
                    '\'' => break,
                    inside => word.push(inside),
                }
            },
            '"' => loop {
                let word = word.get_or_insert_default();
                match rest.next().ok_or(UNCLOSED)? {
                    '"' => break,
                    '\\' => match rest.next().ok_or(UNCLOSED)? {
                        escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                        plain => word.extend(['\\', plain]),
                    },
                    '$' | '`' => {
                        return Err(
                            "no shell runs the command, so `$` and backquotes mean nothing in it",
                        );
                    }
                    inside => word.push(inside),
                }
            },
            '\\' => {
                let escaped = rest.next().ok_or("the command ends with a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            '|' | '&' | ';' | '<' | '>' | '$' | '`' | '*' | '?' | '(' | ')' | '\n' | '\0' => {
                return Err("no shell runs the command; put what needs one into a script");
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err("the command names no program");
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use exeat_types::Timestamp;
    use proptest::proptest;

    use super::*;
    use crate::{MasterKey, keyring::tests::FakeKeyring};

    #[track_caller]
    fn check(text: &str, expect: Result<&[&str], &str>) {
        let got = text.parse::<SecretRef>();
        match (got, expect) {
            (Ok(SecretRef::Cmd(words)), Ok(expect)) => assert_eq!(words, expect, "{text}"),
            (Err(problem), Err(part)) => {
                assert!(problem.to_string().contains(part), "{text}: {problem}")
            }
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn commands_are_split_like_a_shell_does_and_expand_nothing() {
        check(
            "cmd:op read op://vault/item",
            Ok(&["op", "read", "op://vault/item"]),
        );
        check(
            "cmd:pass 'two words' \"and \\\"quotes\\\"\"",
            Ok(&["pass", "two words", "and \"quotes\""]),
        );
        check("cmd:a\\ b ''  'c'd", Ok(&["a b", "", "cd"]));
        check("cmd:a \"b\\n\"", Ok(&["a", "b\\n"]));
        for script in [
            "a | b", "a $HOME", "a; b", "a > b", "a `b`", "a *", "a\nb", "a && b",
        ] {
            check(&format!("cmd:{script}"), Err("no shell runs the command"));
        }
        check("cmd:a \"$HOME\"", Err("no shell runs the command"));
        check("cmd:a 'b", Err("not closed"));
        check("cmd:a \"b", Err("not closed"));
        check("cmd:a\\", Err("backslash"));
        check("cmd:'' a", Err("names no program"));
        check("cmd: ", Err("names no program"));
    }

    #[test]
    fn a_reference_names_a_store_and_a_secret_in_its_place_is_refused_without_repeating_it() {
        for text in [
            "sealed:github",
            "sealed:team/git.hub-1",
            "keyring:My Key",
            "env:GITHUB_TOKEN",
            "vault:secret/team/github#token",
            "cmd:a 'b c'",
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
        for text in [
            "CANARY-reference-1",
            "ghp:CANARY-reference-1",
            "env:CANARY=1",
            "sealed:CANARY UPPER",
            "vault:CANARY",
            "vault:secret/CANARY",
            "vault:secret/../CANARY#a",
        ] {
            let problem = text.parse::<SecretRef>().unwrap_err().to_string();
            assert!(
                problem.starts_with("secret: ") && !problem.contains("CANARY"),
                "{problem}"
            );
        }
        for empty in ["sealed:", "keyring:", "vault:", "env:", "cmd:"] {
            let problem = empty.parse::<SecretRef>().unwrap_err().to_string();
            assert_eq!(
                problem,
                format!("secret: expected something after `{empty}`")
            );
        }
    }

    #[test]
    fn each_store_is_asked_and_what_it_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::create_key_file(&folder.path().join("key")).unwrap();
        let mut vault = Vault::open(&folder.path().join("vault.json"), &master).unwrap();
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        vault
            .set(
                "a",
                &secret("CANARY-reference-2"),
                Timestamp::from_millis(1),
            )
            .unwrap();
        vault
            .set(
                "a",
                &secret("CANARY-reference-3"),
                Timestamp::from_millis(2),
            )
            .unwrap();
        let keyring = FakeKeyring::default();
        keyring.write("b", &secret("CANARY-reference-4")).unwrap();
        let environment = |name: &str| match name {
            "C" => Some(OsString::from("CANARY-reference-5")),
            "SHORT" => Some(OsString::from("CANARY")),
            _ => None,
        };
        let stores = Stores {
            vault: Some(&vault),
            keyring: &keyring,
            server: None,
            environment: &environment,
        };
        let resolve =
            |text: &str, stores: &Stores<'_>| text.parse::<SecretRef>().unwrap().resolve(stores);
        for (text, expect, expect_version) in [
            ("sealed:a", "CANARY-reference-3", 2),
            ("keyring:b", "CANARY-reference-4", 1),
            ("env:C", "CANARY-reference-5", 1),
            ("cmd:echo CANARY-reference-6", "CANARY-reference-6", 1),
        ] {
            let (secret, version) = resolve(text, &stores).unwrap();
            assert!(secret.matches(expect.as_bytes()), "{text}");
            assert_eq!(version, expect_version, "{text}");
        }
        for (text, expect) in [
            ("sealed:z", "there is no secret `z` in the vault"),
            ("keyring:z", "there is no secret `z` in the keyring"),
            ("env:Z", "there is no secret `Z` in the environment"),
            (
                "env:SHORT",
                "secret `SHORT` has 6 bytes, expected 8 to 65536",
            ),
            ("cmd:true", "secret `true` has 0 bytes, expected 8 to 65536"),
            ("cmd:false", "command `false` ended with status 1"),
            (
                "vault:secret/a#b",
                "cannot read `secret/a#b` from Vault: there is no `[vault]` in the configuration, or no gate runs",
            ),
        ] {
            assert_eq!(resolve(text, &stores).err().unwrap().to_string(), expect);
        }
        let closed = Stores {
            vault: None,
            ..stores
        };
        let problem = resolve("sealed:a", &closed).err().unwrap().to_string();
        assert_eq!(
            problem,
            "`sealed:a` needs the vault, which has no master key yet"
        );
    }

    proptest! {
        #[test]
        fn a_command_reads_back_as_it_is_shown(first in "[a-z/]{1,8}", more in proptest::collection::vec("\\PC{0,8}", 0..4)) {
            let words = std::iter::once(first).chain(more).collect();
            let reference = SecretRef::Cmd(words);
            proptest::prop_assert_eq!(reference.to_string().parse::<SecretRef>().unwrap(), reference);
        }
    }
}
