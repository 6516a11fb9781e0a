//! What git finds inside when tools sign for it: stand-ins for gpg and ssh-keygen, and settings that name them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use exeat_sandbox::FILES;

use crate::socket::{Signing, SigningFormat};

/// Variables and files for the sandbox.
pub(super) struct Inside {
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

/// The number of settings that git takes from its environment.
const COUNT: &str = "GIT_CONFIG_COUNT";

/// Makes git sign by the gate. Settings that the environment has already stay, and ours come behind them.
pub(super) fn inside(signing: &[Signing], env: &[(OsString, OsString)]) -> anyhow::Result<Inside> {
    let mut inside = Inside {
        env: Vec::new(),
        files: Vec::new(),
    };
    if signing.is_empty() {
        return Ok(inside);
    }
    let exe = std::env::current_exe().context("cannot find this program")?;
    let mut settings: Vec<(&str, OsString)> = Vec::new();
    for one in signing {
        let (word, setting, format) = match one.format {
            SigningFormat::Openpgp => ("gpg", "gpg.program", "openpgp"),
            SigningFormat::Ssh => ("ssh", "gpg.ssh.program", "ssh"),
        };
        let program = Path::new(FILES).join(format!("sign-{word}"));
        let script = format!(
            "#!/bin/sh\nexec {} bridge {word} --url {} -- \"$@\"\n",
            quoted(&exe.to_string_lossy()),
            quoted(&one.url)
        );
        inside.files.push((program.clone(), script.into_bytes()));
        settings.push((setting, program.into_os_string()));
        if signing.len() == 1 {
            settings.push(("gpg.format", format.into()));
        }
        if let (SigningFormat::Ssh, Some(key)) = (one.format, &one.public_key) {
            let file = Path::new(FILES).join("signing.pub");
            inside.files.push((file.clone(), key.clone().into_bytes()));
            settings.push(("user.signingkey", file.into_os_string()));
        }
    }
    let former = env.iter().find(|(name, _)| name == COUNT);
    let former = former.and_then(|(_, count)| count.to_str()?.parse::<usize>().ok());
    let mut count = former.unwrap_or(0);
    for (name, value) in settings {
        inside
            .env
            .push((format!("GIT_CONFIG_KEY_{count}").into(), name.into()));
        inside
            .env
            .push((format!("GIT_CONFIG_VALUE_{count}").into(), value));
        count = count.saturating_add(1);
    }
    inside.env.push((COUNT.into(), count.to_string().into()));
    Ok(inside)
}

/// One word of a shell, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_environment_stay() {
        let one = Signing {
            format: SigningFormat::Ssh,
            url: "https://tools.exeat.internal/it's".to_owned(),
            public_key: Some("ssh-ed25519 AAAA".to_owned()),
        };
        let env = [(OsString::from(COUNT), OsString::from("2"))];
        let made = inside(&[one], &env).unwrap();
        let names: Vec<&str> = made
            .env
            .iter()
            .filter_map(|(name, _)| name.to_str())
            .collect();
        assert!(names.contains(&"GIT_CONFIG_KEY_2") && !names.contains(&"GIT_CONFIG_KEY_1"));
        assert_eq!(made.env.last().unwrap().1, "5");
        let script = String::from_utf8(made.files[0].1.clone()).unwrap();
        assert!(
            script.contains("'https://tools.exeat.internal/it'\\''s' -- \"$@\""),
            "{script}"
        );
        assert!(inside(&[], &env).unwrap().env.is_empty());
    }
}
