//! What the command finds in its environment: the way to the gate, the roots to trust, and no credential.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::EXPLICIT_PORT;

/// The folder inside that holds the files given to [`crate::Prepared::go`].
pub const FILES: &str = "/run/exeat";

/// Hosts that are asked directly: inside, loopback is the command's own.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Variables that name a proxy, in both cases where clients disagree.
const PROXY: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Variables that add roots to those of the client.
const ADDED_ROOTS: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Variables that replace the roots of the client.
const REPLACED_ROOTS: [&str; 10] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "npm_config_cafile",
];

/// Variables whose former value stays, with ours behind it.
pub(crate) const APPENDED: [&str; 1] = [JAVA];
/// Every Java machine heeds it and says so in one line on standard error. `JDK_JAVA_OPTIONS` is no quieter, came later,
/// and is for the launcher `java` only: build tools and their daemons would not see it.
const JAVA: &str = "JAVA_TOOL_OPTIONS";

/// The variables that lead clients to the gate: `ca` holds our roots, `bundle` those and the system's, `store` the same
/// for Java, all as paths inside.
pub fn variables(ca: &Path, bundle: &Path, store: &Path) -> Vec<(OsString, OsString)> {
    let proxy = format!("http://127.0.0.1:{EXPLICIT_PORT}");
    let proxies = PROXY.iter().map(|name| (*name, OsStr::new(&proxy)));
    let direct = ["NO_PROXY", "no_proxy"].map(|name| (name, OsStr::new(NO_PROXY)));
    // Node ignores proxy variables unless it is told to heed them.
    let node = ("NODE_USE_ENV_PROXY", OsStr::new("1"));
    // Its usual place is covered, as it is that of everybody's sessions.
    let tmux = ("TMUX_TMPDIR", OsStr::new("/dev/shm"));
    let added = ADDED_ROOTS.iter().map(|name| (*name, ca.as_os_str()));
    let replaced = REPLACED_ROOTS
        .iter()
        .map(|name| (*name, bundle.as_os_str()));
    let all = proxies
        .chain(direct)
        .chain([node, tmux])
        .chain(added)
        .chain(replaced);
    let java = (OsString::from(JAVA), OsString::from(java(store)));
    all.map(|(name, value)| (name.into(), value.into()))
        .chain([java])
        .collect()
}

/// Java reads neither proxy variables nor PEM files. The password is none: the store has nothing to open. Its counters
/// stay out of `/tmp`, where a process of another sandbox may have the same number, and Java would warn on standard output.
fn java(store: &Path) -> String {
    let proxies = ["http", "https"].map(|scheme| {
        format!("-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={EXPLICIT_PORT}")
    });
    format!(
        "{} -Dhttp.nonProxyHosts=localhost|127.*|[::1] -Djavax.net.ssl.trustStore={} \
         -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit \
         -XX:+PerfDisableSharedMem",
        proxies.join(" "),
        store.display()
    )
}

/// Names that are credentials, or lead to a process that holds some.
const DROPPED: [&str; 27] = [
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "SSH_ASKPASS",
    "GIT_ASKPASS",
    "SUDO_ASKPASS",
    "GPG_AGENT_INFO",
    "GNOME_KEYRING_CONTROL",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SESSION_BUS_PID",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "WAYLAND_SOCKET",
    "XAUTHORITY",
    "KRB5CCNAME",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "KUBECONFIG",
    "NETRC",
    "VAULT_ADDR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_PROFILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "TMUX",
    "STY",
    "LISTEN_FDS",
    "NOTIFY_SOCKET",
];

/// Ends of names that are credentials, also without an underscore before them.
const DROPPED_ENDS: [&str; 9] = [
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "CREDENTIALS",
];

/// Last words of names that are credentials.
const DROPPED_WORDS: [&str; 12] = [
    "KEY",
    "KEYS",
    "PASS",
    "PW",
    "PAT",
    "AUTH",
    "JWT",
    "COOKIE",
    "DSN",
    "WEBHOOK",
    "BEARER",
    "CREDENTIAL",
];

/// The environment without credentials, without ways to agents that hold some, and without proxies of the outer world.
/// It goes by names, and by values that hold a user and password in a URL.
pub fn scrub(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    environment
        .into_iter()
        .filter(|(name, value)| is_harmless(name, value))
        .collect()
}

fn is_harmless(name: &OsStr, value: &OsStr) -> bool {
    let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
    let upper = name.to_ascii_uppercase();
    let last = upper.rsplit(['_', '-', '.']).next().unwrap_or(&upper);
    let proxies = PROXY.contains(&&*name) || upper == "NO_PROXY";
    let named = DROPPED.contains(&&*upper)
        || DROPPED_WORDS.contains(&last)
        || DROPPED_ENDS.iter().any(|end| upper.ends_with(end));
    !proxies && !named && !has_user_information(&value)
}

/// Whether a value is, or holds, a URL with a password (RFC 3986 section 3.2.1).
fn has_user_information(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or(rest);
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, passes: usize) {
        let left = scrub([(name.into(), value.into())]);
        assert_eq!(left.len(), passes, "{name}={value}");
    }

    #[test]
    fn credentials_and_ways_to_them_do_not_pass() {
        let names = "GITHUB_TOKEN OPENAI_API_KEY AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN PGPASSWORD npm_config__auth \
                     npm_config__authToken stripe_secret SSH_AUTH_SOCK DBUS_SESSION_BUS_ADDRESS HTTPS_PROXY no_proxy \
                     DATABASE_DSN MY.API.KEY TOKEN DISPLAY GH_PAT";
        for name in names.split_whitespace() {
            check(name, "CANARY-sandbox-1", 0);
        }
        check("DATABASE_URL", "postgres://user:CANARY-sandbox-2@db/x", 0);
        check("PIP_INDEX_URL", "https://u:p@host", 0);
    }

    #[test]
    fn what_programs_need_passes() {
        let names =
            "PATH HOME LANG TERM KEYBOARD MONKEY PWD SSH_TTY XDG_RUNTIME_DIR COMPASS AUTHOR";
        for name in names.split_whitespace() {
            check(name, "/some/where", 1);
        }
        check("HOMEPAGE", "https://a.example/@user:1", 1);
        check("MAILTO", "someone@a.example", 1);
        check("GIT_REMOTE", "ssh://git@github.com/x", 1);
    }

    #[test]
    fn every_client_is_told_the_proxy_and_the_roots() {
        let set = variables(
            Path::new("/run/exeat/ca.pem"),
            Path::new("/run/exeat/bundle.pem"),
            Path::new("/run/exeat/truststore.p12"),
        );
        let value = |name: &str| {
            set.iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.to_str().unwrap())
        };
        assert_eq!(value("https_proxy"), Some("http://127.0.0.1:3128"));
        assert_eq!(value("NO_PROXY"), Some("localhost,127.0.0.1,::1"));
        assert_eq!(value("NODE_EXTRA_CA_CERTS"), Some("/run/exeat/ca.pem"));
        assert_eq!(value("SSL_CERT_FILE"), Some("/run/exeat/bundle.pem"));
        let java = value("JAVA_TOOL_OPTIONS").unwrap();
        assert!(java.contains("-Djavax.net.ssl.trustStore=/run/exeat/truststore.p12"));
        assert!(java.contains("-Dhttps.proxyPort=3128"));
        assert_eq!(set.len(), 23);
    }
}
