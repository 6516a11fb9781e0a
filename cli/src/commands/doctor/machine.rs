//! The machine from outside: what a sandbox and a gate need of it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use exeat_custody::SecretRef;
use exeat_sandbox::doctor::Check;
use exeat_types::Timestamp;
use rustix::fs::statfs;

use crate::{
    commands::Place,
    folder::DataFolder,
    settings::{Master, Settings},
    socket::{Client, Request, Status},
};

/// File systems that other machines may share, by the number that the kernel gives them.
const SHARED: [(i64, &str); 10] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x786f_4256, "a folder of VirtualBox"),
    (0xbacb_acbc, "a folder of VMware"),
];
/// How far a file may lie in the future, in seconds: two clocks never agree.
const SKEW_SECS: u64 = 24 * 60 * 60;
/// 2100-01-01: what is later is no date.
const LATEST_SECS: u64 = 4_102_444_800;

/// What the kernel can enforce, and the clock.
pub(super) fn kernel(now: Timestamp) -> Vec<Check> {
    let gaps: Vec<String> = exeat_sandbox::gaps()
        .iter()
        .map(ToString::to_string)
        .collect();
    vec![
        Check::of(
            "kernel-seals",
            &gaps,
            "namespaces, Landlock and seccomp, complete",
        ),
        clock(now),
    ]
}

/// The clock is not before this program was made, and not absurd.
fn clock(now: Timestamp) -> Check {
    let id = "clock";
    let seconds = now.millis() / 1000;
    let made = std::env::current_exe()
        .and_then(fs::metadata)
        .map(|found| found.mtime());
    let Ok(made) = made.map(|made| u64::try_from(made).unwrap_or_default()) else {
        return Check::open(id, "cannot be compared with anything");
    };
    if seconds.saturating_add(SKEW_SECS) < made || seconds > LATEST_SECS {
        return Check::open(id, format!("it is {now}, and this program was made later"));
    }
    Check::closed(id, format!("it is {now}"))
}

/// The data folder and what lies in it.
pub(super) fn folder(place: &Place, settings: &Settings, folder: &DataFolder) -> Vec<Check> {
    vec![
        private(folder.path()),
        master(settings.master),
        memory(folder),
        ledger(place),
        authority(folder.path()),
    ]
}

/// Closed to others, and on a disk of this machine.
fn private(path: &Path) -> Check {
    let id = "data-folder-private";
    let found = match (fs::metadata(path), statfs(path)) {
        (Ok(facts), Ok(system)) => {
            let mut found = Vec::new();
            if facts.mode() & 0o077 != 0 {
                found.push(format!("`{}` is open to others", path.display()));
            }
            let kind = system.f_type;
            let shared = SHARED.iter().find(|(number, _)| *number == kind);
            found.extend(shared.map(|(_, name)| format!("`{}` is on {name}", path.display())));
            found
        }
        _ => vec![format!("`{}` cannot be looked at", path.display())],
    };
    Check::of(
        id,
        &found,
        format!("`{}`, only ours, on this machine", path.display()),
    )
}

/// Whether secrets come out of the gate's environment, which is for development.
pub(super) fn environment(settings: &Settings) -> Check {
    let from_there = |reference: &SecretRef| matches!(reference, SecretRef::Env(_));
    let credentials = settings.credentials.iter();
    let credentials = credentials
        .filter(|(_, credential)| credential.spec.secret.as_ref().is_some_and(from_there))
        .map(|(id, _)| format!("credential `{id}`"));
    let signers = settings.signers.iter();
    let signers = signers
        .filter(|(_, kind)| kind.secrets().into_iter().any(from_there))
        .map(|(name, _)| format!("signer `{name}`"));
    let found: Vec<String> = credentials.chain(signers).collect();
    Check::of("environment-secrets", &found, "no secret lies there")
}

/// Where the master key is: worth knowing, and the operator's choice.
fn master(kind: Master) -> Check {
    Check::closed("master-key", kind.told())
}

/// Whether secrets in the memory of the gate can reach a disk: worth knowing, and the operator's choice.
fn memory(folder: &DataFolder) -> Check {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let gate = Client::connect(folder).ok().flatten();
    let gate = gate.and_then(|gate| gate.one::<Status>(&Request::Status {}, &[]).ok());
    let told = match gate.map(|gate| locked(gate.pid)) {
        _ if swaps.lines().count() == 1 => "no core and no tracing; this machine has no swap",
        Some(true) => "no core and no tracing; the gate's memory is kept out of swap",
        Some(false) => {
            "no core and no tracing; the gate's memory may be written to swap: give it CAP_IPC_LOCK, or encrypt the swap"
        }
        None => "no core and no tracing; no gate runs that could be asked about swap",
    };
    Check::closed("memory", told)
}

/// Whether a process has memory that never goes to swap.
fn locked(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    line.is_some_and(|kibibytes| !kibibytes.trim_start().starts_with("0 "))
}

/// The journal opens, and has a key that signs.
fn ledger(place: &Place) -> Check {
    let key = place
        .gate()
        .and_then(|gate| gate.one::<String>(&Request::ReceiptKey {}, &[]));
    match key {
        Ok(key) => Check::closed("ledger", format!("opens, signed by {}", key.trim())),
        Err(error) => Check::open("ledger", format!("{error:#}")),
    }
}

/// The stored root, if there is one, is private.
fn authority(folder: &Path) -> Check {
    let id = "certificate-authority";
    let root = folder.join("ca");
    let Ok(entries) = fs::read_dir(&root) else {
        return Check::closed(id, "none stored; each sandbox has a root of its own");
    };
    let open = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        let public = name.to_str().is_some_and(|name| name.ends_with(".pem"));
        !public
            && entry
                .metadata()
                .is_ok_and(|found| found.mode() & 0o077 != 0)
    });
    let found: Vec<String> = open
        .map(|entry| format!("`{}` is open to others", entry.path().display()))
        .collect();
    Check::of(id, &found, "stored, its key sealed")
}
