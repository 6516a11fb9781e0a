//! The kind `mtls`: a client certificate, and nothing else.

use std::sync::Arc;

use exeat_custody::{Kind, Mtls};
use exeat_types::{
    Report,
    config::{Item, Table},
};

use super::certificate_of;

pub(super) fn mtls(table: &Table<'_>, _: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let item = table.need("certificate", report)?;
    let certificate = certificate_of(&item, report)?.into_bytes();
    Some(Kind::Made(Arc::new(Mtls { certificate })))
}
