//! git, gpg and ssh-keygen themselves: an agent signs commits and tags with keys that it can neither read nor put to any
//! other use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::site::Site;

const CONFIG: &str = "[agents.coder]\n[agents.guest]\n";

const POLICY: &str = r#"
[[rule]]
name = "sign what Ann commits"
agents = ["coder"]
tools = ["sign.*"]
effect = "allow"

[[rule]]
name = "and nothing else"
agents = ["*"]
tools = ["sign.*"]
unless = 'context.args.git.committer == "ann@example.com"'
effect = "deny"
"#;

/// Keys of an operator, outside of what the agent works on.
struct Keys {
    folder: tempfile::TempDir,
    fingerprint: String,
}

impl Keys {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("gnupg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let mut keys = Self {
            folder,
            fingerprint: String::new(),
        };
        let user = "Ann Other <ann@example.com>";
        let made = [
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            user,
            "ed25519",
            "sign",
            "never",
        ];
        ended_well(&keys.gpg(&made));
        let listed = ended_well(&keys.gpg(&["--batch", "--with-colons", "--list-secret-keys"]));
        let line = listed
            .lines()
            .find(|line| line.starts_with("fpr:"))
            .unwrap();
        keys.fingerprint = line.split(':').nth(9).unwrap().to_owned();
        let file = keys.ssh();
        let mut make = Command::new("ssh-keygen");
        make.args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "ann@example.com",
            "-f",
        ])
        .arg(&file);
        ended_well(&make.output().unwrap());
        keys
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("gnupg")
    }

    fn ssh(&self) -> PathBuf {
        self.folder.path().join("id_ed25519")
    }

    fn gpg(&self, arguments: &[&str]) -> Output {
        let mut gpg = Command::new("gpg");
        gpg.env("GNUPGHOME", self.home())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn tools(&self) -> String {
        format!(
            "[api]\nname = \"sign\"\norigin = \"https://tools.exeat.internal\"\n\
             [[tool]]\nname = \"openpgp\"\nrequest = \"POST /sign/openpgp\"\ncategory = \"write\"\n\
             [tool.sign]\nformat = \"openpgp\"\nkey = \"{}\"\nhome = \"{}\"\n\
             [[tool]]\nname = \"ssh\"\nrequest = \"POST /sign/ssh\"\ncategory = \"write\"\n\
             [tool.sign]\nformat = \"ssh\"\nkey = \"{}\"\n",
            self.fingerprint,
            self.home().display(),
            self.ssh().display()
        )
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let ended = Command::new("gpgconf")
            .env("GNUPGHOME", self.home())
            .args(["--kill", "all"])
            .status();
        assert!(ended.unwrap().success());
    }
}

#[track_caller]
fn ended_well(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout) + &text(&output.stderr)
}

fn site(keys: &Keys) -> Site {
    let site = Site::new(&["unused.example"]);
    site.write("exeat.toml", CONFIG);
    site.write("policy.toml", POLICY);
    site.write("tools/sign.toml", &keys.tools());
    site
}

fn sealed(site: &Site, agent: &str, script: &str) -> Output {
    let mut command = site.sealed_as(agent);
    command
        .args(["sh", "-c", script])
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command.output().unwrap()
}

/// What begins every script: a repository of Ann's.
const REPOSITORY: &str = "set -e; git init -q work; cd work; git config user.name 'Ann Other'; \
                          git config user.email ann@example.com; ";

fn git(site: &Site, arguments: &[&str], more: &[(&str, &Path)]) -> Output {
    let mut git = Command::new("git");
    git.arg("-C").arg(site.file("work")).args(arguments);
    git.envs(more.iter().copied())
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git.output().unwrap()
}

#[test]
fn commits_and_tags_are_signed_by_keys_that_stay_outside() {
    let keys = Keys::make();
    let site = site(&keys);
    let script = format!(
        "{REPOSITORY} git -c gpg.format=openpgp commit -q -S --allow-empty -m 'By OpenPGP'; \
         git -c gpg.format=openpgp tag -s -m 'A tag' v1; \
         git -c gpg.format=ssh commit -q -S --allow-empty -m 'By SSH'; git log --format=%G?"
    );
    let output = sealed(&site, "coder", &script);
    ended_well(&output);
    let home = keys.home();
    let gnupg: &[(&str, &Path)] = &[("GNUPGHOME", &home)];
    for arguments in [&["verify-commit", "HEAD~1"][..], &["verify-tag", "v1"]] {
        let verified = ended_well(&git(&site, arguments, gnupg));
        assert!(
            verified.contains("Good signature from \"Ann Other"),
            "{verified}"
        );
    }
    let public = fs::read_to_string(keys.ssh().with_extension("pub")).unwrap();
    let signers = keys.folder.path().join("signers");
    fs::write(&signers, format!("ann@example.com {public}")).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    let verified = ended_well(&git(
        &site,
        &["-c", &setting, "log", "-1", "--show-signature"],
        &[],
    ));
    assert!(
        verified.contains("Good \"git\" signature for ann@example.com"),
        "{verified}"
    );
    let receipts = site.receipts();
    let tools: Vec<&str> = receipts.iter().map(|(tool, ..)| &**tool).collect();
    assert_eq!(
        tools.iter().filter(|tool| **tool == "sign.openpgp").count(),
        2,
        "{tools:?}"
    );
    assert_eq!(
        tools.iter().filter(|tool| **tool == "sign.ssh").count(),
        1,
        "{tools:?}"
    );
    assert!(
        receipts
            .iter()
            .all(|(_, decision, _)| decision == "allowed"),
        "{receipts:?}"
    );
}

#[test]
fn the_key_is_not_there_to_be_read_and_signs_nothing_but_commits() {
    let keys = Keys::make();
    let site = site(&keys);
    let reads = format!(
        "cat {0}; ls -A {1}; cat {1}/private-keys-v1.d/*; cat /proc/*/environ; GNUPGHOME={1} gpg --list-secret-keys",
        keys.ssh().display(),
        keys.home().display()
    );
    let output = sealed(&site, "coder", &reads);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        !told.contains("PRIVATE") && !told.contains("private") && !told.contains("sec "),
        "{told}"
    );

    let ask = "curl -s -o answer -w '%{http_code} ' -H 'content-type: application/octet-stream' --data-binary";
    let refused = format!(
        "{REPOSITORY} set +e; \
         printf 'I owe you 100 EUR\\n' | /run/exeat/sign-gpg --status-fd=2 -bsau x && echo SIGNED; \
         printf 'a mail\\n' > mail; /run/exeat/sign-ssh -Y sign -n git -f x mail && echo SIGNED; \
         /run/exeat/sign-ssh -Y sign -n file -f x mail && echo SIGNED; \
         {ask} @mail https://tools.exeat.internal/sign/ssh; grep -o urn:[a-z:-]* answer; \
         git config user.email eve@example.com; \
         git -c gpg.format=ssh commit -q -S --allow-empty -m x && echo SIGNED; \
         git -c gpg.format=openpgp commit -q -S --allow-empty -m x && echo SIGNED; \
         git log --oneline; ls mail.sig; true"
    );
    let output = sealed(&site, "coder", &refused);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        !out.contains("SIGNED") && !out.contains("mail.sig"),
        "{out}{err}"
    );
    assert!(
        out.contains("422 urn:exeat:reason:arguments-invalid"),
        "{out}{err}"
    );
    assert!(
        err.contains("policy-forbids") && err.contains("arguments-invalid"),
        "{out}{err}"
    );
    let guest =
        "cd work; git config user.email ann@example.com; git commit -q -S --allow-empty -m x";
    let output = sealed(&site, "guest", guest);
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let receipts = site.receipts();
    assert!(
        receipts
            .iter()
            .all(|(_, decision, _)| decision == "refused"),
        "{receipts:?}"
    );
}
