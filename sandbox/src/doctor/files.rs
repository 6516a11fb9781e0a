//! Files: what must be hidden, what must not be read, what must not be written, and what came along unasked.
//!
//! Nothing is changed: files are opened and closed. Where a file that must not be there could be made, it is removed again.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    path::Path,
};

use super::{
    Check, Errand,
    network::{counted, is_refusal},
};

/// Where programs that act for the user or for root listen.
const RUNTIME_SOCKETS: [&str; 12] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/dbus/system_bus_socket",
    "/run/systemd/private",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nscd/socket",
    "/run/snapd.socket",
    "/run/libvirt/libvirt-sock",
    "/tmp/.X11-unix/X0",
];
/// Devices that reach disks, memory, other machines or the kernel.
const DEVICES: [&str; 14] = [
    "mem",
    "kmsg",
    "port",
    "kvm",
    "fuse",
    "net/tun",
    "vsock",
    "vhost-vsock",
    "vhost-net",
    "sda",
    "vda",
    "nvme0n1",
    "loop0",
    "uinput",
];
/// Settings of the kernel that a container must not change.
const KERNEL_SETTINGS: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
];

/// Tries all of them.
pub(super) fn probe(errand: &Errand, inherited: &BTreeSet<u32>) -> Vec<Check> {
    vec![
        hidden(errand),
        sockets(errand),
        runtime_sockets(),
        counted(
            "credentials",
            errand.private.len(),
            &found(&errand.private, readable),
            "places of credentials",
        ),
        kept(errand),
        inherited_descriptors(inherited),
        environment(errand),
        devices(),
        kernel_settings(),
    ]
}

/// The numbers of the open descriptors.
pub(super) fn descriptors() -> BTreeSet<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return BTreeSet::new();
    };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let listed: BTreeSet<u32> = entries.flatten().filter_map(number).collect();
    // The listing's own descriptor is closed by now.
    let is_open = |number: &u32| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    listed.into_iter().filter(is_open).collect()
}

fn found<P: AsRef<Path>>(paths: &[P], problem: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let problem = |path: &P| {
        let path = path.as_ref();
        Some(format!("`{}` {}", path.display(), problem(path)?))
    };
    paths.iter().filter_map(problem).collect()
}

/// The gate's data folder and its like.
fn hidden(errand: &Errand) -> Check {
    let seen = found(&errand.hidden, readable);
    counted(
        "data-folder",
        errand.hidden.len(),
        &seen,
        "folders of the gate",
    )
}

/// Sockets made outside, the gate's own among them.
fn sockets(errand: &Errand) -> Check {
    let reached = found(&errand.sockets, answers);
    counted(
        "unix-sockets",
        errand.sockets.len(),
        &reached,
        "sockets outside",
    )
}

fn runtime_sockets() -> Check {
    let reached = found(&RUNTIME_SOCKETS, answers);
    let closed = format!("{} known places, none answers", RUNTIME_SOCKETS.len());
    Check::of("runtime-sockets", &reached, closed)
}

fn answers(path: &Path) -> Option<String> {
    match UnixStream::connect(path) {
        Err(error) if is_refusal(&error) => {
            // One that is full or not for us is there all the same.
            let is_socket = fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
            is_socket.then(|| "can be seen".to_owned())
        }
        Err(error) => Some(format!("is there: {error}")),
        Ok(_) => Some("answers".to_owned()),
    }
}

/// Whether a file has content for us, or a folder has entries.
fn readable(path: &Path) -> Option<String> {
    let kind = fs::metadata(path).ok()?;
    if kind.is_dir() {
        let first = fs::read_dir(path).ok()?.next()?.ok()?;
        return Some(format!("shows `{}`", first.file_name().to_string_lossy()));
    }
    if !kind.is_file() {
        return None;
    }
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut [0; 1]));
    matches!(read, Ok(1..)).then(|| "can be read".to_owned())
}

/// Files by which a command would act later, outside: shells, login, version control and editors run them. Those that may
/// be tried on are also moved away, with the folders around them, and linked to, as another name might be open.
fn kept(errand: &Errand) -> Check {
    let mut written = found(&errand.kept, |path| {
        writable(path)
            .or_else(|| movable(path))
            .or_else(|| linkable(path))
    });
    written.extend(found(&errand.kept_if_there, |path| {
        if path.exists() { writable(path) } else { None }
    }));
    let tried = errand.kept.len() + errand.kept_if_there.len();
    counted("kept-files", tried, &written, "files that run later")
}

/// Whether it, or a folder around it within the working folder, can be moved aside. What was moved is moved back.
fn movable(path: &Path) -> Option<String> {
    let project = std::env::current_dir().ok()?;
    let around = path.ancestors().skip(1);
    let inside = around.take_while(|folder| folder.starts_with(&project) && *folder != project);
    std::iter::once(path).chain(inside).find_map(|path| {
        let aside = path.with_added_extension("exeat-doctor");
        fs::rename(path, &aside).ok()?;
        Some(match fs::rename(&aside, path) {
            Ok(()) => format!("can be moved, as `{}` can", path.display()),
            Err(error) => format!("was moved to `{}` and not back: {error}", aside.display()),
        })
    })
}

/// Whether a second name can be made for it in the working folder.
fn linkable(path: &Path) -> Option<String> {
    let link = std::env::current_dir().ok()?.join("exeat-doctor-link");
    fs::hard_link(path, &link).ok()?;
    Some(match fs::remove_file(&link) {
        Ok(()) => "can be linked to".to_owned(),
        Err(error) => format!("can be linked to, and the link not be removed: {error}"),
    })
}

fn writable(path: &Path) -> Option<String> {
    let existed = fs::symlink_metadata(path).is_ok();
    if path.is_dir() {
        return writable(&path.join("exeat-doctor"));
    }
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) if existed => Some("can be written".to_owned()),
        Ok(_) => {
            let removed = fs::remove_file(path);
            Some(match removed {
                Ok(()) => "can be made".to_owned(),
                Err(error) => format!("can be made, and not be removed: {error}"),
            })
        }
        Err(_) => None,
    }
}

fn inherited_descriptors(inherited: &BTreeSet<u32>) -> Check {
    let id = "descriptors";
    if inherited.is_empty() {
        return Check::open(id, "could not be listed");
    }
    let extra: Vec<String> = inherited
        .iter()
        .filter(|number| **number > 2)
        .map(|number| {
            let what = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
            format!("{number} came along: `{}`", what.display())
        })
        .collect();
    Check::of(id, &extra, "only the standard streams came along")
}

fn environment(errand: &Errand) -> Check {
    let id = "environment";
    if errand.canaries.is_empty() {
        return Check::open(id, "could not be tried: nothing was planted");
    }
    let canaries = &errand.canaries;
    let holds = |value: &str| {
        canaries
            .iter()
            .any(|canary| value.contains(canary.as_str()))
    };
    let held: Vec<String> = errand
        .environment
        .iter()
        .filter(|(_, value)| holds(value))
        .map(|(name, _)| format!("`{name}` came along"))
        .collect();
    Check::of(id, &held, "no planted credential came along")
}

fn devices() -> Check {
    let opened = found(&DEVICES.map(|name| format!("/dev/{name}")), |path| {
        let read = OpenOptions::new().read(true).open(path).is_ok();
        read.then(|| "can be opened".to_owned())
    });
    Check::of("devices", &opened, "no disk, memory, tunnel or machine")
}

fn kernel_settings() -> Check {
    let opened = found(&KERNEL_SETTINGS, |path| {
        // Opening for writing changes nothing; what is written would.
        let opened: io::Result<fs::File> = OpenOptions::new().write(true).open(path);
        opened.is_ok().then(|| "can be written".to_owned())
    });
    Check::of("kernel-settings", &opened, "none can be changed")
}
