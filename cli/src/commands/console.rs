//! `exeat console`: one-time codes for passkeys, and which passkeys there are.

use anyhow::{Context as _, bail};

use super::Place;
use crate::{
    args::Console,
    socket::{Device, Enrolling, Request},
    ui::{self, Ending},
};

pub(super) fn console(place: &Place, order: Console) -> anyhow::Result<Ending> {
    match order {
        Console::Enroll { user } => {
            let request = Request::ConsoleEnroll { user };
            let enrolling: Enrolling = place.gate()?.one(&request, &[])?;
            place.print(&enrolling, || told(&enrolling))?;
        }
        Console::Devices => {
            let devices: Vec<Device> = place.gate()?.all(&Request::ConsoleDevices {})?;
            let rows: Vec<[String; 4]> = devices.iter().map(row).collect();
            place.print_all(&devices, || {
                ui::table(["FINGERPRINT", "PERSON", "DEVICE", "SINCE"], &rows)
            })?;
        }
        Console::Forget { fingerprint } => {
            let devices: Vec<Device> = place.gate()?.all(&Request::ConsoleDevices {})?;
            let found = devices.iter().find(|it| it.fingerprint == fingerprint);
            let device = found.with_context(|| format!("there is no passkey `{fingerprint}`"))?;
            if devices.len() == 1 {
                bail!(
                    "it is the last passkey: nobody could approve anything; enrol another one first"
                );
            }
            place.print(device, || {
                format!(
                    "Confirm it with a passkey at {}: remove `{}` of {}.",
                    device.page, device.device, device.user
                )
            })?;
        }
    }
    Ok(Ending::Done)
}

fn told(enrolling: &Enrolling) -> String {
    let Enrolling {
        url, code, until, ..
    } = enrolling;
    let rest = if enrolling.is_first {
        "It will be the first passkey of this gate."
    } else {
        "Somebody who has a passkey has to confirm it in the console."
    };
    format!("Open {url}\nor type the code {code} there. It is good once, until {until}.\n{rest}")
}

fn row(device: &Device) -> [String; 4] {
    [
        device.fingerprint.clone(),
        device.user.clone(),
        device.device.clone(),
        device.since.to_string(),
    ]
}
