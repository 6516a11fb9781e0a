//! `exeat bridge`: what git takes for gpg or ssh-keygen inside a sandbox. It holds no key: it asks the gate, which asks the
//! rules, and a program outside signs. What only checks signatures goes to the real program.

mod ask;

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;

use crate::{
    args::{Bridge, Bridged},
    ui::Ending,
};

/// Largest text that is sent to be signed.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// The one use of an SSH signature that is asked for.
const NAMESPACE: &str = "git";

/// What the tool answers.
#[derive(Deserialize)]
struct Signed {
    signature: String,
    #[serde(default)]
    status: Option<String>,
}

pub(super) fn bridge(order: Bridge) -> anyhow::Result<Ending> {
    match order {
        Bridge::Gpg(order) => gpg(&order),
        Bridge::Ssh(order) => ssh(&order),
    }
}

/// Signs standard input onto standard output, and says so as GnuPG does.
fn gpg(order: &Bridged) -> anyhow::Result<Ending> {
    if !order.words.iter().any(|word| asks_to_sign(word)) {
        return pass_on("gpg", &order.words);
    }
    let mut text = Vec::new();
    let mut input = std::io::stdin()
        .lock()
        .take(TEXT_BYTES_MAX.saturating_add(1));
    input
        .read_to_end(&mut text)
        .context("cannot read what is to be signed")?;
    let signed = sign(&order.url, &text)?;
    let mut out = std::io::stdout().lock();
    out.write_all(signed.signature.as_bytes())?;
    out.flush()?;
    // Git looks for this line at the descriptor that it names, which is always this one.
    writeln!(
        std::io::stderr().lock(),
        "\n{}",
        signed.status.unwrap_or_default()
    )?;
    Ok(Ending::Done)
}

/// `-bsau KEY`, as git writes it, or the long form.
fn asks_to_sign(word: &str) -> bool {
    let short = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    word == "--detach-sign"
        || short.is_some_and(|letters| letters.contains('b') && letters.contains('s'))
}

/// `-Y sign -n git -f KEY FILE`: the signature lies beside the file.
fn ssh(order: &Bridged) -> anyhow::Result<Ending> {
    let words: Vec<&str> = order.words.iter().map(String::as_str).collect();
    let ["-Y", "sign", rest @ ..] = words.as_slice() else {
        return pass_on("ssh-keygen", &order.words);
    };
    let file = file_of(rest)?;
    let text = fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let signed = sign(&order.url, &text)?;
    let mut beside = file.into_os_string();
    beside.push(".sig");
    fs::write(&beside, signed.signature)
        .with_context(|| format!("cannot write `{}`", Path::new(&beside).display()))?;
    Ok(Ending::Done)
}

fn file_of(words: &[&str]) -> anyhow::Result<PathBuf> {
    let (mut words, mut file) = (words.iter(), None);
    while let Some(word) = words.next() {
        match *word {
            "-n" if words.next() != Some(&NAMESPACE) => {
                bail!("only signatures for `{NAMESPACE}` are made")
            }
            // Which key signs is not for the caller to say.
            "-f" | "-O" => drop(words.next()),
            "-n" | "-U" => {}
            name if file.is_none() && !name.starts_with('-') => file = Some(PathBuf::from(name)),
            other => bail!("`{other}` is not understood"),
        }
    }
    file.ok_or_else(|| anyhow!("expected a file to sign"))
}

fn sign(url: &str, text: &[u8]) -> anyhow::Result<Signed> {
    let answer = ask::post(url, text)?;
    serde_json::from_slice(&answer).context("the gate gave no signature")
}

/// Becomes the real program.
fn pass_on(program: &str, words: &[String]) -> anyhow::Result<Ending> {
    let error = Command::new(program).args(words).exec();
    Err(error).with_context(|| format!("cannot run `{program}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_asks_is_understood_and_nothing_else() {
        for word in ["-bsau", "-bsa", "--detach-sign"] {
            assert!(asks_to_sign(word), "{word}");
        }
        for word in ["--verify", "--status-fd=2", "-", "--keyid-format=long"] {
            assert!(!asks_to_sign(word), "{word}");
        }
        let file = |words: &[&str]| file_of(words).map_err(|error| error.to_string());
        assert_eq!(
            file(&["-n", "git", "-f", "key", "-U", "/tmp/x"]),
            Ok("/tmp/x".into())
        );
        assert!(file(&["-n", "file", "-f", "key", "/tmp/x"]).is_err());
        assert!(file(&["-n", "git", "-f", "key"]).is_err());
        assert!(file(&["-n", "git", "--odd", "/tmp/x"]).is_err());
    }
}
