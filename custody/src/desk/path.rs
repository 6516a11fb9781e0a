//! The path: parts of it that the tool declares.

use super::{Desk, Writing};
use crate::{Refused, Slot};

impl Desk<'_> {
    /// What becomes of the path.
    pub(crate) fn path(&self) -> Result<Option<String>, Refused> {
        let misused = || Refused::misused("path");
        let path = self.ask.path;
        let Some(bound) = &self.bound else {
            return match self.watch().found_in(path.as_bytes()) {
                true => Err(misused()),
                false => Ok(None),
            };
        };
        let mut parts: Vec<_> = self
            .ask
            .slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Path(part) => Some(part.clone()),
                _ => None,
            })
            .collect();
        parts.sort_by_key(|part| part.start);
        let (mut out, mut rest, mut from) = (String::new(), String::new(), 0);
        for part in &parts {
            let before = path.get(from..part.start).ok_or_else(misused)?;
            let inside = path.get(part.clone()).ok_or_else(misused)?;
            let place = || "path".to_owned();
            let filled = bound.filled(self.watch(), inside.as_bytes(), Writing::Path, place)?;
            out.push_str(before);
            out.push_str(&String::from_utf8_lossy(&filled));
            rest.push_str(before);
            rest.push(' ');
            from = part.end;
        }
        let tail = path.get(from..).ok_or_else(misused)?;
        out.push_str(tail);
        rest.push_str(tail);
        if self.watch().found_in(rest.as_bytes()) {
            return Err(misused());
        }
        Ok((!parts.is_empty()).then_some(out))
    }
}
