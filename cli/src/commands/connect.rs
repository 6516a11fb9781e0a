//! `exeat connect`, `exeat disconnect` and `exeat connection`: credentials that a person grants.
//!
//! The gate talks to the issuer and listens for the browser; here a browser is opened. No code and no token comes by.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::Place;
use crate::{
    args::{Connect, Connection, Disconnect},
    socket::{ConnectStep, ConnectionEntry, ConnectionQuery, DisconnectOrder, Request},
    ui::{self, Ending, Output},
};

pub(super) fn connect(place: &Place, order: &Connect) -> anyhow::Result<Ending> {
    let request = Request::Connect {
        credential: order.name.clone(),
        scopes: order.scopes.clone(),
    };
    let mut granted = None;
    for step in place.gate()?.ask(&request, &[])? {
        let step = serde_json::from_value(step?).context("cannot read the gate's answer")?;
        if place.output == Output::Json {
            ui::json(&step)?;
        }
        match step {
            ConnectStep::Visit {
                url,
                code,
                whole_url,
                scopes,
            } => {
                let shown = whole_url.as_ref().unwrap_or(&url);
                let browser = match !order.no_browser && open(shown) {
                    true => Browser::Opened,
                    false => Browser::Closed,
                };
                if place.output == Output::Text {
                    tell(&url, code.as_deref(), &scopes, browser);
                }
            }
            ConnectStep::Connected(entry) => granted = Some(entry),
        }
    }
    let Some(entry) = granted else {
        bail!("the gate broke off")
    };
    if place.output == Output::Text {
        ui::data(format_args!(
            "{} is connected: {}",
            entry.credential,
            scopes(&entry.scopes)
        ))?;
        if !entry.renews && entry.expires.is_some() {
            ui::say("it cannot be renewed; when it ends, connect again");
        }
    }
    Ok(Ending::Done)
}

pub(super) fn disconnect(place: &Place, order: &Disconnect) -> anyhow::Result<Ending> {
    let request = Request::Disconnect(DisconnectOrder {
        credential: order.name.clone(),
        forget: order.forget,
    });
    let entry: ConnectionEntry = place.gate()?.one(&request, &[])?;
    place.print(&entry, || format!("{} is disconnected", entry.credential))?;
    Ok(Ending::Done)
}

pub(super) fn connection(place: &Place, order: &Connection) -> anyhow::Result<Ending> {
    let Connection::List { ask } = order;
    let request = Request::ConnectionList(ConnectionQuery { ask: *ask });
    let entries: Vec<ConnectionEntry> = place.gate()?.all(&request)?;
    let rows: Vec<[String; 5]> = entries.iter().map(row).collect();
    let heading = ["NAME", "STATE", "EXPIRES", "SCOPES", "ISSUER"];
    place.print_all(&entries, || ui::table(heading, &rows))?;
    Ok(Ending::Done)
}

fn row(entry: &ConnectionEntry) -> [String; 5] {
    let expires = entry
        .expires
        .map_or_else(|| "-".to_owned(), |at| at.to_string());
    let mut state = entry.state.clone();
    if !entry.wanted.is_empty() {
        state.push_str(", lacks ");
        state.push_str(&scopes(&entry.wanted));
    }
    [
        entry.credential.to_string(),
        state,
        expires,
        scopes(&entry.scopes),
        entry.issuer.clone(),
    ]
}

fn scopes(scopes: &[String]) -> String {
    if scopes.is_empty() {
        "no scopes".to_owned()
    } else {
        scopes.join(" ")
    }
}

/// Whether a browser shows the issuer's page.
#[derive(Clone, Copy)]
enum Browser {
    Opened,
    Closed,
}

fn tell(url: &str, code: Option<&str>, asked: &[String], browser: Browser) {
    ui::say(format_args!("asking for {}", scopes(asked)));
    match (code, browser) {
        (Some(code), _) => ui::say(format_args!("open {url} on any device and type {code}")),
        (None, Browser::Opened) => ui::say(format_args!(
            "your browser should show the issuer's page; if not, open {url}"
        )),
        (None, Browser::Closed) => ui::say(format_args!("open {url}")),
    }
}

/// Opens a URL with the desktop's own program; whether one was started. No shell sees the URL.
fn open(url: &str) -> bool {
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return false;
    }
    let mut command = Command::new("xdg-open");
    command.arg(url);
    for set in [Command::stdin, Command::stdout, Command::stderr] {
        set(&mut command, Stdio::null());
    }
    command.status().is_ok_and(|status| status.success())
}
