//! What the store of roots must survive: rotation, tampering, open permissions.

use super::*;
use crate::fakes::{DAY, FakeSealer, NOON, year_root};

const SEALER: FakeSealer = FakeSealer(0x5a);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("ca");
    (temporary, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let entry = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(entry).collect();
    names.sort();
    names
}

fn key_path(folder: &Path) -> PathBuf {
    let name = names(folder)
        .into_iter()
        .find(|name| name.ends_with(".key.sealed"))
        .unwrap();
    folder.join(name)
}

#[test]
fn a_stored_root_loads_as_it_was_and_is_made_only_once() {
    let (_temporary, folder) = folder();
    let made = Store::init(&folder, year_root(), &SEALER).unwrap();
    let loaded = Store::load(&folder, &SEALER).unwrap();
    assert_eq!(loaded.current().fingerprint(), made.current().fingerprint());
    assert_eq!(loaded.current().not_after(), NOON.after(365 * DAY));
    assert_eq!(loaded.trust(NOON).len(), 1);
    let again = Store::init(&folder, year_root(), &SEALER);
    assert!(matches!(again, Err(Error::Exists { .. })));
    assert_eq!(
        Store::load(&folder, &SEALER)
            .unwrap()
            .current()
            .fingerprint(),
        made.current().fingerprint()
    );
}

#[test]
fn the_key_is_neither_readable_by_others_nor_in_the_clear() {
    let (_temporary, folder) = folder();
    Store::init(&folder, year_root(), &SEALER).unwrap();
    let key = key_path(&folder);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&folder)), (0o600, 0o700));
    let sealed = fs::read(&key).unwrap();
    let pkcs8_of_p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    assert!(!sealed.windows(8).any(|window| window == pkcs8_of_p256));
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Store::load(&folder, &SEALER),
        Err(Error::Exposed { mode: 0o640, .. })
    ));
}

#[test]
fn a_missing_a_changed_and_a_swapped_key_are_refused() {
    let (_temporary, folder) = folder();
    assert!(matches!(
        Store::load(&folder, &SEALER),
        Err(Error::Missing { .. })
    ));
    Store::init(&folder, year_root(), &SEALER).unwrap();
    let (key, cert) = (key_path(&folder), folder.join(ROOT));
    let sealed = fs::read(&key).unwrap();
    assert!(matches!(
        Store::load(&folder, &FakeSealer(1)),
        Err(Error::Unseal(_))
    ));
    for at in [0, 31, 32, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        fs::write(&key, changed).unwrap();
        assert!(
            matches!(Store::load(&folder, &SEALER), Err(Error::Unseal(_))),
            "byte {at}"
        );
    }
    // The key of another root, sealed by the same sealer, under this root's name.
    fs::write(&key, year_root().seal(&SEALER).unwrap().sealed_key).unwrap();
    assert!(matches!(
        Store::load(&folder, &SEALER),
        Err(Error::Unseal(_))
    ));
    // Even a sealer that ignores places cannot join a key to another certificate.
    let place = root::place(&fingerprint(&fs::read_to_string(&cert).unwrap()).unwrap());
    let other = SEALER.seal(
        &place,
        crate::key::bytes(&crate::key::Pair::generate().unwrap().1),
    );
    fs::write(&key, other.unwrap()).unwrap();
    assert!(matches!(
        Store::load(&folder, &SEALER),
        Err(Error::KeyMismatch { .. })
    ));
    fs::write(&cert, "no certificate").unwrap();
    assert!(matches!(
        Store::load(&folder, &SEALER),
        Err(Error::Unreadable { .. })
    ));
}

#[test]
fn after_a_rotation_both_roots_are_trusted_until_the_old_one_ends() {
    let (_temporary, folder) = folder();
    let mut store = Store::init(&folder, year_root(), &SEALER).unwrap();
    let first = store.current().certificate_der().clone();
    let later = NOON.after(300 * DAY);
    let root = Root::generate("Exeat test root", later, 365 * DAY).unwrap();
    let second = root.certificate_der().clone();
    store.rotate(root, &SEALER).unwrap();
    for store in [&store, &Store::load(&folder, &SEALER).unwrap()] {
        assert_eq!(store.trust(later), [second.clone(), first.clone()]);
        assert_eq!(store.trust_pem(later).matches("BEGIN").count(), 2);
        assert_eq!(
            store.trust(NOON.after(365 * DAY)),
            std::slice::from_ref(&second)
        );
    }
    assert_eq!(
        names(&folder).len(),
        3,
        "the old key is gone: {:?}",
        names(&folder)
    );
}

#[test]
fn a_rotation_that_fails_half_way_leaves_the_old_root() {
    struct Broken;
    impl Sealer for Broken {
        fn seal(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, exeat_types::DeviceFailure> {
            Err(exeat_types::DeviceFailure("gone"))
        }
        fn open(
            &self,
            _: &str,
            _: &[u8],
        ) -> Result<exeat_types::Secret, exeat_types::DeviceFailure> {
            Err(exeat_types::DeviceFailure("gone"))
        }
    }
    let (_temporary, folder) = folder();
    let mut store = Store::init(&folder, year_root(), &SEALER).unwrap();
    let first = store.current().fingerprint();
    assert!(matches!(
        store.rotate(year_root(), &Broken),
        Err(Error::Seal(_))
    ));
    assert_eq!(store.current().fingerprint(), first);
    let loaded = Store::load(&folder, &SEALER).unwrap();
    assert_eq!(
        (loaded.current().fingerprint(), loaded.trust(NOON).len()),
        (first, 1)
    );
}
