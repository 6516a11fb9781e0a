//! What a command must not even read: credentials in files, and the sockets of processes that act for the user.
//!
//! The two tables below are the whole knowledge of places. A place is covered by an empty folder or an empty file, and
//! the confinement of the filesystem (`confine.rs`) grants no reading there either.

use std::path::{Path, PathBuf};

use crate::start::Access;

/// Places below a home folder that hold credentials, or tell of past ones.
pub const CREDENTIALS: &[&str] = &[
    // Keys and tokens of tools.
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".oci",
    ".bluemix",
    ".aliyun",
    ".netrc",
    "_netrc",
    ".authinfo",
    ".authinfo.gpg",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".config/gcloud",
    ".config/doctl",
    ".config/hcloud",
    ".config/linode-cli",
    ".config/scw",
    ".config/fly",
    ".fly",
    ".config/op",
    ".config/rclone",
    ".config/sops",
    ".config/age",
    ".config/stripe",
    ".config/heroku",
    ".local/share/heroku",
    ".config/netlify",
    ".netlify",
    ".config/vercel",
    ".local/share/com.vercel.cli",
    ".wrangler",
    ".config/.wrangler",
    ".config/cloudflared",
    ".cloudflared",
    ".config/ngrok",
    ".ngrok2",
    ".docker/config.json",
    ".docker/contexts",
    ".config/containers/auth.json",
    ".kube",
    ".config/helm/registry",
    ".config/argocd",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/pnpm/rc",
    ".pypirc",
    ".config/pip",
    ".pip",
    ".config/uv",
    ".config/pypoetry",
    ".config/hatch",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".local/share/gem/credentials",
    ".bundle/config",
    ".composer/auth.json",
    ".config/composer/auth.json",
    ".m2/settings.xml",
    ".m2/settings-security.xml",
    ".gradle/gradle.properties",
    ".nuget/NuGet",
    ".config/NuGet",
    ".terraformrc",
    ".terraform.d",
    ".pulumi/credentials.json",
    ".vault-token",
    ".vaultrc",
    ".s3cfg",
    ".boto",
    ".databrickscfg",
    ".snowflake",
    ".snowsql",
    ".dbt",
    ".kaggle",
    ".huggingface",
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    ".config/wandb",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".mongorc.js",
    ".msmtprc",
    ".config/msmtp",
    ".mbsyncrc",
    ".fetchmailrc",
    ".smbcredentials",
    ".davfs2",
    ".htpasswd",
    ".vnc",
    ".config/remmina",
    ".local/share/remmina",
    ".config/filezilla",
    ".putty",
    ".Xauthority",
    ".ICEauthority",
    ".k5login",
    ".config/exeat",
    // Password stores and keyrings.
    ".password-store",
    ".local/share/gopass",
    ".config/gopass",
    ".local/share/keyrings",
    ".gnome2/keyrings",
    ".local/share/kwalletd",
    ".kde/share/apps/kwallet",
    ".config/keepassxc",
    ".config/KeePass",
    ".config/Bitwarden",
    ".config/Bitwarden CLI",
    ".config/1Password",
    ".1password",
    ".lastpass",
    ".config/lpass",
    ".local/share/lpass",
    ".config/joplin",
    ".electrum",
    ".bitcoin",
    ".ethereum",
    ".config/solana",
    ".pki",
    // Browsers and messengers: cookies, saved passwords, sessions.
    ".mozilla",
    ".librewolf",
    ".thunderbird",
    ".config/mozilla",
    ".config/google-chrome",
    ".config/google-chrome-beta",
    ".config/google-chrome-unstable",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".config/vivaldi",
    ".config/opera",
    ".config/Slack",
    ".config/discord",
    ".config/Signal",
    ".local/share/TelegramDesktop",
    ".config/evolution",
    ".local/share/evolution",
    ".config/Code/User/globalStorage",
    ".config/Cursor/User/globalStorage",
    ".var/app",
    "snap",
    // What was typed before.
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".sh_history",
    ".history",
    ".local/share/fish",
    ".local/state/bash",
    ".local/state/zsh",
    ".local/share/nushell",
    ".config/nushell/history.txt",
    ".local/share/atuin",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".sqlite_history",
    ".rediscli_history",
    ".irb_history",
    ".lesshst",
    ".viminfo",
];

/// Where agents keep their own logins below a home folder. An agent whose state folder is granted finds its own there.
pub const AGENT_LOGINS: &[&str] = &[
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".gemini/oauth_creds.json",
    ".qwen/oauth_creds.json",
    ".config/github-copilot",
    ".copilot",
    ".config/cursor",
    ".local/share/opencode/auth.json",
    ".config/goose/secrets.yaml",
    ".local/share/amp/secrets.json",
    ".factory",
    ".continue",
    ".cline",
    ".config/io.datasette.llm",
];

/// Places outside of any home folder that hold credentials; only root could read most of them.
const OF_THE_SYSTEM: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/ssh/ssh_host_dsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/var/lib/kubelet",
    "/etc/rancher",
    "/etc/wireguard",
    "/etc/wpa_supplicant",
    "/etc/NetworkManager/system-connections",
    "/etc/docker/key.json",
    "/var/lib/cloud",
];

/// Where programs keep sockets of agents and of container engines below a home folder.
const SOCKETS: [&str; 14] = [
    ".1password",
    ".bitwarden-ssh-agent.sock",
    ".colima",
    ".docker/desktop",
    ".docker/run",
    ".gnupg/S.dirmngr",
    ".gnupg/S.gpg-agent",
    ".gnupg/S.gpg-agent.browser",
    ".gnupg/S.gpg-agent.extra",
    ".gnupg/S.gpg-agent.ssh",
    ".gnupg/S.keyboxd",
    ".lima",
    ".local/share/containers/podman/machine",
    ".rd",
];

/// Paths below a home folder to hide ([`crate::Plan::hide`]), as a process listens there that acts for the user.
pub fn sockets(home: &Path) -> Vec<PathBuf> {
    SOCKETS.iter().map(|name| home.join(name)).collect()
}

/// Every place with credentials that this machine may have; not all exist.
pub(crate) fn credentials(access: &Access) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = OF_THE_SYSTEM.iter().map(PathBuf::from).collect();
    for home in access.homes() {
        places.extend(CREDENTIALS.iter().map(|name| home.join(name)));
        let logins = AGENT_LOGINS.iter().map(|name| home.join(name));
        // SECURITY: only a grant below the home folder shows a login, never that of the home folder as a whole.
        let granted = |place: &PathBuf| {
            let inside = |grant: &&PathBuf| grant.starts_with(&home) && **grant != home;
            let mut grants = access.write.iter().filter(inside);
            grants.any(|grant| place.starts_with(grant))
        };
        places.extend(logins.filter(|place| !granted(place)));
    }
    places
}

/// Paths of sockets in a table as `/proc/net/unix` has it: everything that another process has bound by a path.
pub(crate) fn bound_sockets(table: &str) -> Vec<PathBuf> {
    let paths = table.lines().skip(1).filter_map(|line| {
        let start = line.find(" /")?;
        line.get(start.saturating_add(1)..)
    });
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(write: &[&str]) -> Access {
        Access {
            home: Some("/home/ann".into()),
            project: "/home/ann/work".into(),
            write: write.iter().map(PathBuf::from).collect(),
            keep: Vec::new(),
        }
    }

    #[test]
    fn an_agent_finds_its_own_login_and_no_other() {
        let hidden = credentials(&access(&["/home/ann/.codex"]));
        let hides = |place: &str| hidden.contains(&PathBuf::from(place));
        assert!(!hides("/home/ann/.codex/auth.json"));
        assert!(hides("/home/ann/.claude/.credentials.json"));
        assert!(hides("/home/ann/.ssh"));
        assert!(hides("/etc/shadow"));
    }

    #[test]
    fn no_grant_shows_a_credential() {
        for write in ["/home/ann", "/home", "/", "/home/ann/.ssh"] {
            let hidden = credentials(&access(&[write]));
            for place in ["/home/ann/.ssh", "/home/ann/.codex/auth.json"] {
                assert!(hidden.contains(&PathBuf::from(place)), "{write} {place}");
            }
        }
    }

    #[test]
    fn sockets_are_found_by_their_paths() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 25 /srv/with space/a.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 26\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 27 @abstract\n\
                     0000000000000000: 00000002 00000000 00000000 0002 01 28 /dev/log\n";
        assert_eq!(
            bound_sockets(table),
            [
                PathBuf::from("/srv/with space/a.sock"),
                PathBuf::from("/dev/log")
            ]
        );
    }
}
