//! Processes outside: none can be seen, traced, signalled or joined.

use std::{fs, os::fd::AsFd as _};

use rustix::{
    process::getpid,
    thread::{CapabilitySet, capabilities, no_new_privs},
};

use super::{
    Check, Errand,
    kernel::check,
    namespaces,
    syscalls::{Call, attempt},
};

/// Tries all of them.
pub(super) fn probe(errand: &Errand) -> Vec<Check> {
    let mut checks = vec![own_namespaces(errand), privileges(), own_proc(), init()];
    match errand.gate {
        Some(gate) => checks.extend(against(gate)),
        None => {
            let ids = ["proc-gate", "ptrace-gate", "signal-gate", "setns"];
            checks
                .extend(ids.map(|id| Check::open(id, "could not be tried: no gate to try it on")));
        }
    }
    checks
}

/// Every kind of namespace is another one than outside.
fn own_namespaces(errand: &Errand) -> Check {
    let id = "namespaces";
    let ours = namespaces();
    if errand.namespaces.len() != super::NAMESPACES.len() || ours.len() != super::NAMESPACES.len() {
        return Check::open(id, "could not be compared with those outside");
    }
    let shared = |(kind, name): &(&String, &String)| errand.namespaces.get(*kind) == Some(*name);
    let found: Vec<String> = ours
        .iter()
        .filter(shared)
        .map(|(kind, _)| format!("shares its `{kind}` namespace"))
        .collect();
    let kinds: Vec<&str> = ours.keys().map(String::as_str).collect();
    Check::of(id, &found, format!("own {}", kinds.join(", ")))
}

fn privileges() -> Check {
    let mut found = Vec::new();
    let none = CapabilitySet::empty();
    match capabilities(None) {
        Ok(sets) => {
            let sets = [
                ("effective", sets.effective),
                ("permitted", sets.permitted),
                ("inheritable", sets.inheritable),
            ];
            let held = sets.into_iter().filter(|(_, set)| *set != none);
            found.extend(held.map(|(name, set)| format!("{name} capabilities {:x}", set.bits())));
        }
        Err(error) => found.push(format!("capabilities cannot be read: {error}")),
    }
    if !no_new_privs().is_ok_and(|set| set) {
        found.push("programs may gain privileges".to_owned());
    }
    Check::of(
        "privileges",
        &found,
        "no capability, and none to be had by exec",
    )
}

/// `/proc` is that of our own process namespace, in which our number is the one we know.
fn own_proc() -> Check {
    let id = "proc";
    let me = getpid().as_raw_nonzero().to_string();
    match fs::read_link("/proc/self") {
        Ok(name) if name.as_os_str() == me.as_str() => {
            let numbers = fs::read_dir("/proc").map(|entries| {
                let names = entries.flatten().map(|entry| entry.file_name());
                names
                    .filter(|name| {
                        name.to_str()
                            .is_some_and(|name| name.parse::<u32>().is_ok())
                    })
                    .count()
            });
            match numbers {
                // The first process, this one, and whatever the command started.
                Ok(count) if count <= 8 => Check::closed(id, format!("{count} processes, ours")),
                Ok(count) => Check::open(id, format!("{count} processes can be seen")),
                Err(error) => Check::open(id, format!("cannot be listed: {error}")),
            }
        }
        Ok(other) => Check::open(
            id,
            format!(
                "`/proc` is another namespace's: {me} is {}",
                other.display()
            ),
        ),
        Err(error) => Check::open(id, format!("cannot be read: {error}")),
    }
}

/// The first process inside gives nothing away.
fn init() -> Check {
    let found: Vec<String> = ["environ", "mem", "maps", "fd/0", "cwd", "root"]
        .iter()
        .map(|name| format!("/proc/1/{name}"))
        .filter(|path| fs::File::open(path).is_ok())
        .map(|path| format!("`{path}` can be opened"))
        .collect();
    Check::of("proc-init", &found, "process 1 gives nothing away")
}

/// The gate's process, by its number outside.
fn against(gate: u32) -> Vec<Check> {
    // Inside, the number may be that of another process, which would then say nothing about the gate.
    let visible = fs::metadata(format!("/proc/{gate}")).is_ok();
    let seen = if visible {
        Check::open("proc-gate", format!("process {gate} can be seen"))
    } else {
        Check::closed("proc-gate", format!("no process {gate} in sight"))
    };
    vec![
        seen,
        check(
            "ptrace-gate",
            [
                ("ptrace", Call::ptrace_seize(gate)),
                ("process_vm_readv", Call::process_vm_readv(gate)),
            ],
        ),
        check(
            "signal-gate",
            [
                ("kill", Call::kill(gate)),
                ("pidfd_open", Call::pidfd_open(gate)),
            ],
        ),
        joining(gate),
    ]
}

/// Namespaces cannot be joined: not the gate's, and not even those that we are in.
fn joining(gate: u32) -> Check {
    let mut found = Vec::new();
    for (process, kind) in [
        (gate.to_string(), "net"),
        (gate.to_string(), "mnt"),
        ("1".to_owned(), "net"),
        ("self".to_owned(), "net"),
        ("self".to_owned(), "user"),
    ] {
        let path = format!("/proc/{process}/ns/{kind}");
        let Ok(namespace) = fs::File::open(&path) else {
            continue;
        };
        if let Err(other) = attempt(&[Call::setns(namespace.as_fd())]).refusal() {
            found.push(format!("`{path}`: {other}"));
        }
    }
    Check::of("setns", &found, "no namespace can be joined")
}
