//! The vault under use, misuse and tampering.

use std::fs;

use super::*;

struct Place {
    folder: tempfile::TempDir,
    master: MasterKey,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let master = MasterKey::create_key_file(&folder.path().join("master.key")).unwrap();
        Self { folder, master }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault.json")
    }

    fn open(&self) -> Result<Vault, Error> {
        Vault::open(&self.path(), &self.master)
    }

    /// A vault with secrets `a` (version 2) and `b` (version 1).
    fn filled(&self) -> Vault {
        let mut vault = self.open().unwrap();
        vault.set("a", &secret("CANARY-vault-1"), at(1)).unwrap();
        vault.set("b", &secret("CANARY-vault-2"), at(2)).unwrap();
        vault.set("a", &secret("CANARY-vault-3"), at(3)).unwrap();
        vault
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path()).unwrap()).unwrap()
    }

    #[track_caller]
    fn tampered(&self, change: impl Fn(&mut serde_json::Value), expect: &str) {
        let before = fs::read(self.path()).unwrap();
        let mut value = self.json();
        change(&mut value);
        let after = serde_json::to_vec(&value).unwrap();
        file::replace(&self.path(), &after).unwrap();
        let problem = self
            .open()
            .unwrap_err()
            .to_string()
            .replace(&self.path().display().to_string(), "PATH");
        assert_eq!(problem, expect);
        assert_eq!(
            fs::read(self.path()).unwrap(),
            after,
            "a damaged vault is left as it is"
        );
        file::replace(&self.path(), &before).unwrap();
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn secrets_are_kept_versioned_listed_and_removed() {
    let place = Place::new();
    let mut vault = place.filled();
    assert_eq!(vault.versions(), BTreeMap::from([("a", 2), ("b", 1)]));
    let reopened = place.open().unwrap();
    assert_eq!(reopened.list(), vault.list());
    assert_eq!(
        reopened.list()[0],
        VaultEntry {
            name: "a".to_owned(),
            version: 2,
            created: at(3)
        }
    );
    let (a, version) = reopened.get("a").unwrap();
    assert!(a.matches(b"CANARY-vault-3"));
    assert_eq!(version, 2);
    vault.remove("a", at(4)).unwrap();
    assert!(matches!(vault.get("a"), Err(Error::SecretRevoked { .. })));
    assert!(matches!(
        place.open().unwrap().get("a"),
        Err(Error::SecretRevoked { .. })
    ));
    assert!(matches!(vault.get("z"), Err(Error::SecretAbsent { .. })));
    assert!(matches!(
        vault.remove("a", at(5)),
        Err(Error::SecretAbsent { .. })
    ));
    assert_eq!(place.open().unwrap().versions(), BTreeMap::from([("b", 1)]));
    let version = vault.set("a", &secret("CANARY-vault-4"), at(5)).unwrap();
    assert_eq!(version, 4, "no version is used twice");
}

#[test]
fn the_file_and_the_debug_output_show_no_secret() {
    let place = Place::new();
    let vault = place.filled();
    let text = fs::read_to_string(place.path()).unwrap();
    assert!(
        !text.contains("CANARY") && !text.contains(&BASE64_STANDARD.encode("CANARY")),
        "{text}"
    );
    let shown = format!("{vault:?}").replace(&place.path().display().to_string(), "PATH");
    insta::assert_snapshot!(shown, @r#"Vault { path: "PATH", versions: {"a": 2, "b": 1}, .. }"#);
}

#[test]
fn what_is_no_secret_or_no_name_is_refused_and_changes_nothing() {
    let place = Place::new();
    let mut vault = place.filled();
    let before = fs::read(place.path()).unwrap();
    assert!(matches!(
        vault.set("c", &secret("CANARY"), at(9)),
        Err(Error::SecretSize { bytes: 6, .. })
    ));
    assert!(matches!(
        vault.set("c", &Secret::new(vec![b'x'; 70_000]), at(9)),
        Err(Error::SecretSize { .. })
    ));
    for name in ["", "A", "a b", "/a", "a|b", &"a".repeat(129)] {
        assert!(
            matches!(
                vault.set(name, &secret("CANARY-vault-5"), at(9)),
                Err(Error::Malformed(_))
            ),
            "{name}"
        );
    }
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert_eq!(vault.versions(), BTreeMap::from([("a", 2), ("b", 1)]));
}

#[test]
fn every_change_to_the_file_is_noticed_and_the_damaged_secret_is_named() {
    let place = Place::new();
    let mut vault = place.open().unwrap();
    vault.set("a", &secret("CANARY-vault-1"), at(1)).unwrap();
    let old = place.json();
    vault.set("b", &secret("CANARY-vault-2"), at(2)).unwrap();
    vault.set("a", &secret("CANARY-vault-3"), at(3)).unwrap();
    drop(vault);
    let damaged = "secret `a` in `PATH` was changed or damaged";
    let changed = "the list of secrets in `PATH` was changed: one was removed, or put back to an older version";
    place.tampered(
        |v| v["records"]["a"]["content"]["sealed"] = "AAAA".into(),
        damaged,
    );
    place.tampered(
        |v| v["records"]["a"]["content"]["key"] = "!".into(),
        damaged,
    );
    place.tampered(
        |v| v["records"]["a"]["content"] = v["records"]["b"]["content"].clone(),
        damaged,
    );
    place.tampered(|v| v["records"]["a"]["version"] = 3.into(), damaged);
    place.tampered(|v| v["records"]["a"] = old["records"]["a"].clone(), changed);
    place.tampered(
        |v| v["records"]["a"]["content"] = serde_json::Value::Null,
        changed,
    );
    place.tampered(
        |v| drop(v["records"].as_object_mut().unwrap().remove("b")),
        changed,
    );
    place.tampered(
        |v| v["records"]["a"]["created"] = "2030-01-01T00:00:00.000Z".into(),
        changed,
    );
    place.tampered(|v| v["mac"] = "".into(), changed);
    place.tampered(
        |v| v["format"] = 2.into(),
        "`PATH` is not a vault: expected format 1, got 2",
    );
    place.tampered(
        |v| v["key"] = "0".into(),
        "`PATH` was sealed under another master key",
    );
    assert!(place.open().is_ok());
    file::replace(&place.path(), b"{\"format\":1").unwrap();
    assert!(matches!(
        place.open(),
        Err(Error::NotA { what: "vault", .. })
    ));
}

#[test]
fn a_new_master_key_opens_the_vault_and_the_old_one_no_longer_does() {
    let place = Place::new();
    let mut vault = place.filled();
    let sealed = place.json()["records"]["a"]["content"]["sealed"].clone();
    let new = MasterKey::create_key_file(&place.folder.path().join("new.key")).unwrap();
    vault.rewrap(&new).unwrap();
    assert_eq!(
        place.json()["records"]["a"]["content"]["sealed"],
        sealed,
        "only keys are wrapped anew"
    );
    assert!(matches!(place.open(), Err(Error::WrongKey { .. })));
    let reopened = Vault::open(&place.path(), &new).unwrap();
    assert!(reopened.get("a").unwrap().0.matches(b"CANARY-vault-3"));
    vault.set("c", &secret("CANARY-vault-6"), at(9)).unwrap();
    assert!(
        Vault::open(&place.path(), &new)
            .unwrap()
            .get("c")
            .unwrap()
            .0
            .matches(b"CANARY-vault-6")
    );
}

#[test]
fn a_vault_of_an_earlier_master_key_is_put_under_the_one_in_force() {
    let place = Place::new();
    drop(place.filled());
    let list = place.folder.path().join("earlier.json");
    let new = place.master.succeed(&list).unwrap();
    let vault = Vault::open(&place.path(), &new).unwrap();
    assert!(vault.get("a").unwrap().0.matches(b"CANARY-vault-3"));
    assert!(matches!(place.open(), Err(Error::WrongKey { .. })));
    let stranger = MasterKey::generate().unwrap();
    assert!(matches!(
        Vault::open(&place.path(), &stranger),
        Err(Error::WrongKey { .. })
    ));
}

#[test]
fn a_vault_that_somebody_else_wrote_meanwhile_is_not_overwritten() {
    let place = Place::new();
    let mut first = place.filled();
    let mut second = place.open().unwrap();
    second.set("c", &secret("CANARY-vault-7"), at(9)).unwrap();
    let new = MasterKey::create_key_file(&place.folder.path().join("new.key")).unwrap();
    assert!(matches!(
        first.set("d", &secret("CANARY-vault-8"), at(9)),
        Err(Error::ChangedMeanwhile { .. })
    ));
    assert!(matches!(
        first.remove("a", at(9)),
        Err(Error::ChangedMeanwhile { .. })
    ));
    assert!(matches!(
        first.rewrap(&new),
        Err(Error::ChangedMeanwhile { .. })
    ));
    assert!(
        first.get("a").unwrap().0.matches(b"CANARY-vault-3"),
        "the old key stays in force"
    );
    assert_eq!(
        place.open().unwrap().versions(),
        BTreeMap::from([("a", 2), ("b", 1), ("c", 1)])
    );
}

#[test]
fn the_signers_seed_is_made_once_and_kept() {
    use exeat_types::Signer as _;
    let place = Place::new();
    let mut vault = place.open().unwrap();
    let first = crate::SoftwareSigner::kept_in(&mut vault, "ledger/signer", at(1)).unwrap();
    let again =
        crate::SoftwareSigner::kept_in(&mut place.open().unwrap(), "ledger/signer", at(2)).unwrap();
    assert_eq!(first.public_key(), again.public_key());
}
