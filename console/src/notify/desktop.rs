//! Shows a notice on the desktop of this process.

use std::{collections::HashMap, time::Duration};

use tokio::time::timeout;
use zbus::{Connection, zvariant::Value};

use super::{Notice, Undelivered};

/// How long the desktop may take.
const PATIENCE: Duration = Duration::from_secs(5);
const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// # Spec
/// Desktop Notifications Specification 1.2, `Notify`; bodies may be read as markup.
pub(super) async fn show(notice: &Notice) -> Result<(), Undelivered> {
    let shown = timeout(PATIENCE, notify(notice)).await;
    let shown = shown.map_err(|_late| Undelivered::Unreached("the desktop is slow".to_owned()))?;
    shown.map_err(|error| {
        tracing::debug!(%error, "the desktop did not take a notice");
        Undelivered::Unreached("there is no desktop that shows notices".to_owned())
    })
}

async fn notify(notice: &Notice) -> zbus::Result<()> {
    let session = Connection::session().await?;
    let plain = notice.text.replace('&', "&amp;").replace('<', "&lt;");
    let body = format!("{plain}\n{}", notice.url);
    let hints = HashMap::from([("urgency", Value::U8(2)), ("category", "im".into())]);
    let no_actions: &[&str] = &[];
    let content = (
        "Exeat",
        0_u32,
        "",
        notice.title(),
        body,
        no_actions,
        hints,
        -1_i32,
    );
    session
        .call_method(Some(NAME), PATH, Some(NAME), "Notify", &content)
        .await?;
    Ok(())
}
