//! `exeat secret`: what custody keeps. A value goes in through a pipe and never comes out.

use std::os::fd::AsFd as _;

use anyhow::Context as _;

use super::Place;
use crate::{
    args::Secret,
    socket::{Request, SecretEntry},
    ui::{self, Ending},
};

pub(super) fn secret(place: &Place, order: Secret) -> anyhow::Result<Ending> {
    match order {
        Secret::Set { name } => {
            let prompt = format!("secret `{name}`");
            let pipe = ui::secret_pipe(&prompt).context("cannot read the secret")?;
            let request = Request::SecretSet { name };
            let entry: SecretEntry = place.gate()?.one(&request, &[pipe.as_fd()])?;
            place.print(&entry, || {
                format!("{} is sealed, version {}", entry.name, entry.version)
            })?;
        }
        Secret::List => {
            let entries: Vec<SecretEntry> = place.gate()?.all(&Request::SecretList {})?;
            let rows: Vec<[String; 3]> = entries
                .iter()
                .map(|entry| {
                    [
                        entry.name.clone(),
                        entry.version.to_string(),
                        entry.created.to_string(),
                    ]
                })
                .collect();
            place.print_all(&entries, || ui::table(["NAME", "VERSION", "STORED"], &rows))?;
        }
        Secret::Remove { name } => {
            let entry: SecretEntry = place.gate()?.one(&Request::SecretRemove { name }, &[])?;
            place.print(&entry, || format!("{} is forgotten", entry.name))?;
        }
    }
    Ok(Ending::Done)
}
