//! `Sec-WebSocket-Protocol` (RFC 6455 section 11.3.4): browsers cannot send another header with a handshake, so some APIs
//! take their key as one item of this list.

use exeat_types::Secret;
use http::{HeaderName, HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};

use super::{Desk, Presented, Writing};
use crate::{Refused, Slot, inject};

/// What items begin with that carry a key, whether a tool declares them or not: an agent's own key never rides along.
const CARRIERS: [&str; 1] = ["openai-insecure-api-key."];

impl Desk<'_> {
    /// What becomes of the list of protocols.
    pub(super) fn protocols(&self) -> Result<Option<(HeaderName, Option<HeaderValue>)>, Refused> {
        let misused = || Refused::misused(format!("header.{SEC_WEBSOCKET_PROTOCOL}"));
        let mut out = Vec::new();
        let mut changed = false;
        for value in self.ask.headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            for item in value.as_bytes().split(|byte| *byte == b',') {
                let item = item.trim_ascii();
                let kept = self.protocol(item).map_err(|refused| match refused {
                    Refused::Misused { .. } => misused(),
                    other => other,
                })?;
                changed = changed || kept.as_deref() != Some(item);
                out.extend(kept);
            }
        }
        if !changed {
            return Ok(None);
        }
        let value = match out.is_empty() {
            true => None,
            false => {
                Some(inject::sensitive(&Secret::new(out.join(&b", "[..]))).ok_or_else(misused)?)
            }
        };
        Ok(Some((SEC_WEBSOCKET_PROTOCOL, value)))
    }

    /// What becomes of one item.
    fn protocol(&self, item: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let misused = || Refused::misused("protocol");
        let slots = self.ask.slots.iter().filter_map(|slot| match slot {
            Slot::Protocol(prefix) => Some(prefix.as_bytes()),
            _ => None,
        });
        if let Some(bound) = &self.bound {
            for prefix in slots {
                let Some(behind) = item.strip_prefix(prefix) else {
                    continue;
                };
                let place = || "protocol".to_owned();
                let filled = bound.filled(self.watch(), behind, Writing::Plain, place)?;
                let token =
                    |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
                if !filled.iter().all(token) {
                    return Err(Refused::Unfit(bound.entry.spec.id.clone()));
                }
                return Ok(Some([prefix, filled.as_slice()].concat()));
            }
        }
        let carries = CARRIERS
            .iter()
            .any(|carrier| item.starts_with(carrier.as_bytes()));
        if carries && self.claims.is_some() {
            return match self.presented(item, |_| true) {
                Presented::Harmless => Ok(None),
                Presented::Stale => Err(Refused::Stale),
                Presented::Foreign => Err(misused()),
            };
        }
        match self.watch().found_in(item) {
            true => Err(misused()),
            false => Ok(Some(item.to_vec())),
        }
    }
}
