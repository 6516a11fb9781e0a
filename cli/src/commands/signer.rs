//! `exeat signer`: keys that sign. What is secret of them is never shown, as it cannot be had.

use anyhow::{Context as _, bail};
use exeat_custody::{jose::Jwk, signature};

use super::Place;
use crate::{
    args::{Form, Signer},
    socket::{Request, SignerEntry},
    ui::{self, Ending},
};

pub(super) fn signer(place: &Place, order: Signer) -> anyhow::Result<Ending> {
    match order {
        Signer::List => {
            let entries: Vec<SignerEntry> = place.gate()?.all(&Request::SignerList {})?;
            let rows: Vec<[String; 4]> = entries.iter().map(row).collect();
            place.print_all(&entries, || {
                ui::table(["NAME", "KIND", "ALGORITHM", "STATE"], &rows)
            })?;
        }
        Signer::Create { name, algorithm } => {
            let algorithm = algorithm.name().to_owned();
            let request = Request::SignerCreate { name, algorithm };
            let entry: SignerEntry = place.gate()?.one(&request, &[])?;
            let pem = entry.pem.clone().unwrap_or_default();
            place.print(&entry, || pem)?;
        }
        Signer::Public { name, form } => {
            let entries: Vec<SignerEntry> = place.gate()?.all(&Request::SignerList {})?;
            let found = entries.into_iter().find(|entry| entry.name == name);
            let entry = found.with_context(|| format!("there is no signer `{name}`"))?;
            if let Some(problem) = &entry.problem {
                bail!("{problem}");
            }
            let text = match form {
                Form::Pem => entry.pem.clone(),
                Form::Ssh => entry.ssh.clone(),
                Form::Jwk => entry.jwk.as_ref().map(ToString::to_string),
                Form::Directory => entry.jwk.as_ref().and_then(directory),
            };
            place.print(&entry, || text.unwrap_or_default())?;
        }
    }
    Ok(Ending::Done)
}

/// The directory with this one key.
fn directory(jwk: &serde_json::Value) -> Option<String> {
    let key = Jwk::read(jwk).ok()?;
    let directory = serde_json::Value::Object(signature::directory(&[key]));
    Some(directory.to_string())
}

fn row(entry: &SignerEntry) -> [String; 4] {
    let state = entry.problem.clone().unwrap_or_else(|| "ready".to_owned());
    let algorithm = entry.algorithm.clone().unwrap_or_else(|| "-".to_owned());
    [entry.name.clone(), entry.kind.clone(), algorithm, state]
}
