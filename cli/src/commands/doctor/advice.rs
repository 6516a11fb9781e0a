//! What to do about an open check.

/// Beginnings of ids, and what to do; the first that fits counts.
const ADVICE: [(&str, &str); 15] = [
    (
        "sandbox",
        "the kernel refuses user namespaces or a mount; see what it says, and `user.max_user_namespaces`",
    ),
    (
        "kernel-seals",
        "use a newer kernel, or one with Landlock and seccomp built in and enabled",
    ),
    (
        "clock",
        "set the clock; certificates, tokens and receipts depend on it",
    ),
    (
        "data-folder-private",
        "close it with `chmod 700`, on a disk of this machine: `--data DIR` names another one",
    ),
    (
        "configuration",
        "`exeat check` shows every problem with its place",
    ),
    (
        "ledger",
        "read what the gate says; receipts must not be edited or moved by hand",
    ),
    (
        "certificate-authority",
        "`exeat ca rotate` makes a new root",
    ),
    (
        "credentials",
        "keep the command away from that place: move it, or report the place so that it is hidden",
    ),
    (
        "kept-files",
        "do not grant that place with `--write`, and do not run in a folder above it",
    ),
    (
        "unix-sockets",
        "do not run the command where that socket lies, or end its owner",
    ),
    (
        "environment",
        "unset that variable before `exeat run`, and report its name",
    ),
    (
        "declared-call",
        "the doctor's own gate does not work here; run `exeat demo` to see where",
    ),
    (
        "metadata",
        "take that host out of your tools, and out of `[network] allow-private`",
    ),
    (
        "gate-ports",
        "take that host out of your tools, and out of `[network] allow-private`",
    ),
    (
        "",
        "the seal does not hold here: let no agent run that you would not let run without it, and report this",
    ),
];

/// What to do about this one.
pub(super) fn about(id: &str) -> &'static str {
    let fits = |(start, _): &&(&str, &'static str)| id.starts_with(start);
    ADVICE.iter().find(fits).map_or("", |(_, advice)| advice)
}
