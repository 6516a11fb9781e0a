//! Keys in a TPM: swtpm, which plays one.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use exeat_custody::{
    Error, MasterKey,
    signer::{Place, TpmKey},
};
use exeat_types::{Algorithm, Secret, Signer};

use crate::contract;

/// A TPM that keeps its state in a folder; gone when dropped.
struct Chip {
    state: PathBuf,
    port: u16,
    process: Child,
}

impl Chip {
    fn start(state: &Path) -> Self {
        let port = ports();
        let process = launch(state, port);
        let chip = Self {
            state: state.to_owned(),
            port,
            process,
        };
        chip.wait();
        chip
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = launch(&self.state, self.port);
        self.wait();
    }

    fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Until its control port listens, which it does last.
    fn wait(&self) {
        for _ in 0..500 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port + 1)).is_ok() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        panic!("swtpm does not listen");
    }

    /// Runs a program of tpm2-tools against it.
    #[track_caller]
    fn tool(&self, arguments: &str, folder: &Path) {
        let ran = Command::new("tpm2")
            .args(arguments.split(' '))
            .env("TPM2TOOLS_TCTI", self.tcti())
            .current_dir(folder)
            .output()
            .expect("tpm2; `make setup` installs it");
        assert!(
            ran.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

/// Two free ports in a row: for commands, and for control.
fn ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two ports in a row");
}

fn launch(state: &Path, port: u16) -> Child {
    let socket = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
    Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .args(["--tpmstate", &format!("dir={}", state.display())])
        .args(["--server", &socket(port), "--ctrl", &socket(port + 1)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm; `make setup` installs it")
}

fn key(chip: &Chip) -> TpmKey {
    TpmKey {
        tcti: chip.tcti(),
        place: Place::File,
        auth: None,
    }
}

/// A new TPM, and a folder for data.
fn world() -> (Chip, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("tpm");
    std::fs::create_dir(&state).unwrap();
    (Chip::start(&state), folder)
}

fn made(chip: &Chip, folder: &Path) -> Arc<dyn Signer> {
    let made = contract::create(&key(chip), folder, &[], Algorithm::Es256).unwrap();
    assert!(made.keep.is_none());
    made.signer
}

#[test]
fn a_key_of_a_tpm_keeps_the_contract() {
    let (chip, folder) = world();
    let public = made(&chip, folder.path()).public_key().to_vec();
    let signer = contract::open(&key(&chip), folder.path(), &[]).unwrap();
    assert!(signer.blocks());
    assert_eq!(signer.public_key(), public);
    contract::signs(&*signer, Algorithm::Es256);
    contract::signs_for_many(&*signer);
    let again = contract::create(&key(&chip), folder.path(), &[], Algorithm::Es256)
        .err()
        .unwrap();
    assert!(
        again
            .to_string()
            .starts_with("signer `test` has a key already"),
        "{again}"
    );
    let other = contract::create(&key(&chip), folder.path(), &[], Algorithm::EdDsa)
        .err()
        .unwrap();
    assert_eq!(
        other.to_string(),
        "signer `test` is in a TPM, which makes ES256 keys, not EdDSA"
    );
}

#[test]
fn a_tpm_that_is_lost_in_use_refuses_until_it_is_back() {
    let (mut chip, folder) = world();
    let signer = made(&chip, folder.path());
    let chip = std::cell::RefCell::new(&mut chip);
    contract::refuses_while_lost(
        &*signer,
        || chip.borrow_mut().stop(),
        || chip.borrow_mut().restart(),
    );
}

#[test]
fn the_file_of_a_key_is_of_no_use_with_another_tpm() {
    let (chip, folder) = world();
    drop(made(&chip, folder.path()));
    let (other, _folder) = world();
    let refused = contract::open(&key(&other), folder.path(), &[])
        .err()
        .unwrap();
    assert!(matches!(refused, Error::Signer { .. }), "{refused}");
    let path = folder.path().join("signers/test.tpm.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    let refused = contract::open(&key(&chip), folder.path(), &[])
        .err()
        .unwrap();
    assert!(
        refused.to_string().ends_with("which has format 2, not 1"),
        "{refused}"
    );
}

#[test]
fn a_key_with_a_password_signs_only_with_it() {
    let (chip, folder) = world();
    let password = [Secret::new(b"CANARY-tpm-1".to_vec())];
    contract::create(&key(&chip), folder.path(), &password, Algorithm::Es256).unwrap();
    let signer = contract::open(&key(&chip), folder.path(), &password).unwrap();
    contract::signs(&*signer, Algorithm::Es256);
    drop(signer);
    assert!(contract::open(&key(&chip), folder.path(), &[]).is_err());
}

#[test]
fn a_persistent_key_signs_and_one_that_can_leave_is_refused() {
    let (chip, folder) = world();
    let at = folder.path();
    chip.tool("createprimary -Q -C o -g sha256 -G ecc -c primary", at);
    for (attributes, handle) in [
        (
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign",
            "0x81010001",
        ),
        ("sensitivedataorigin|userwithauth|sign", "0x81010002"),
    ] {
        chip.tool(
            &format!("create -Q -C primary -G ecc256:ecdsa-sha256 -u pub -r priv -a {attributes}"),
            at,
        );
        chip.tool("flushcontext -t", at);
        chip.tool("load -Q -C primary -u pub -r priv -c key", at);
        chip.tool(&format!("evictcontrol -Q -C o -c key {handle}"), at);
        chip.tool("flushcontext -t", at);
    }
    let resident = |handle| TpmKey {
        place: Place::Handle(handle),
        ..key(&chip)
    };
    let signer = contract::open(&resident(0x8101_0001), at, &[]).unwrap();
    contract::signs(&*signer, Algorithm::Es256);
    drop(signer);
    let refused = contract::open(&resident(0x8101_0002), at, &[])
        .err()
        .unwrap();
    assert_eq!(
        refused.to_string(),
        "signer `test` has a key that can leave the TPM, or came from outside"
    );
}

#[test]
fn a_tpm_keeps_the_master_key_and_no_other_tpm_opens_it() {
    let (mut chip, folder) = world();
    let path = folder.path().join("master.tpm.json");
    let master = MasterKey::generate().unwrap();
    master.keep_in_tpm(&path, &chip.tcti()).unwrap();
    let opened = |chip: &Chip| MasterKey::from_tpm(&path, &chip.tcti());
    for _ in 0..5 {
        assert_eq!(opened(&chip).unwrap().fingerprint(), master.fingerprint());
    }
    assert!(
        master.keep_in_tpm(&path, &chip.tcti()).is_err(),
        "never replaced"
    );
    let (other, _folder) = world();
    let refused = opened(&other).unwrap_err().to_string();
    assert!(
        refused.starts_with("the master key is in a TPM that failed"),
        "{refused}"
    );
    chip.stop();
    assert!(opened(&chip).is_err());
    chip.restart();
    assert_eq!(opened(&chip).unwrap().fingerprint(), master.fingerprint());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace(&master.fingerprint(), "0123456789abcdef"),
    )
    .unwrap();
    let refused = opened(&chip).unwrap_err().to_string();
    assert!(
        refused.ends_with("it holds another key than it says"),
        "{refused}"
    );
}
