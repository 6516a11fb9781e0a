//! `exeat master`: where the key over all sealed secrets is kept. It needs no gate, and none may run meanwhile.

use anyhow::bail;
use serde_json::json;

use super::Place;
use crate::{
    args::Master as Order,
    folder::ENDING_GATE,
    gate::MasterPlaces,
    settings::Master,
    socket::Client,
    ui::{self, Ending},
};

pub(super) fn master(place: &Place, order: &Order) -> anyhow::Result<Ending> {
    let settings = place.settings_if_any()?;
    let folder = place.folder(settings.as_ref())?;
    let places = MasterPlaces::of(folder.path(), settings.as_ref());
    let wanted = settings
        .as_ref()
        .map_or(Master::KeyFile, |settings| settings.master);
    if matches!(order, Order::Show) {
        let kept: Vec<&str> = places.kept().into_iter().map(Master::word).collect();
        let told = json!({ "kept": kept, "configured": wanted.word() });
        place.print(&told, || match &*kept {
            [] => format!("none yet; it will be kept by {}", wanted.told()),
            [one] if *one == wanted.word() => format!("kept by {}", wanted.told()),
            other => format!(
                "kept as {}, and the configuration says `{}`; `exeat master move` puts that right",
                other.join(" and "),
                wanted.word()
            ),
        })?;
        return Ok(Ending::Done);
    }
    if Client::connect(&folder)?.is_some() {
        bail!("a gate runs on this data folder; stop it first");
    }
    let _lock = folder.lock(ENDING_GATE)?;
    match order {
        Order::Show => {}
        Order::Move => {
            let moved = places.move_to(wanted)?;
            let from: Vec<&str> = moved.from.iter().copied().map(Master::word).collect();
            let told = json!({ "from": from, "to": wanted.word(), "key": moved.fingerprint });
            place.print(&told, || format!("kept by {}", wanted.told()))?;
            if from.contains(&Master::KeyFile.word()) {
                ui::say(
                    "the file was overwritten and removed; copies in backups or on a worn disk may remain",
                );
            }
        }
        Order::Rotate => {
            let key = places.rotate(wanted)?;
            let told = json!({ "kept": wanted.word(), "key": key.fingerprint() });
            place.print(&told, || format!("a new key, kept by {}", wanted.told()))?;
        }
        Order::Passphrase => {
            let key = places.change_passphrase()?;
            place.print(&json!({ "key": key.fingerprint() }), || {
                "the passphrase is changed".to_owned()
            })?;
        }
    }
    Ok(Ending::Done)
}
