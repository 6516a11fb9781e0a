//! The header fields that change how a message is read, found in one pass; and those that must not be there.
//!
//! Must never echo a value.

use super::{
    Violation, is_token, name_of,
    scan::{field, trimmed},
};

/// The fields of one head that mean something only once. A second one is refused, equal or not.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) content_length: Option<&'a [u8]>,
    pub(super) transfer_encoding: Option<&'a [u8]>,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) http2_settings: Option<&'a [u8]>,
    pub(super) expect: Option<&'a [u8]>,
    pub(super) proxy_authorization: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    range: Option<&'a [u8]>,
    /// Whether a Connection header names `upgrade`.
    pub(super) names_upgrade: bool,
}

/// Headers with which some upstreams replace the method or the path that policy judged.
const OVERRIDES: [&[u8]; 5] = [
    b"x-http-method-override",
    b"x-method-override",
    b"x-http-method",
    b"x-original-url",
    b"x-rewrite-url",
];

/// What a Connection header may name. Anything else would be taken out behind policy's back.
const CONNECTION_OPTIONS: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];

impl<'a> Fields<'a> {
    /// Judges every header line and keeps the fields that matter.
    pub(super) fn read(
        lines: impl Iterator<Item = &'a [u8]>,
        fields_max: usize,
    ) -> Result<Self, Violation> {
        let mut fields = Self::default();
        for (count, line) in lines.enumerate() {
            if count >= fields_max {
                return Err(Violation::new(
                    "too-many-fields",
                    format!("more than {fields_max} header fields"),
                ));
            }
            fields.take(line)?;
        }
        Ok(fields)
    }

    fn take(&mut self, line: &'a [u8]) -> Result<(), Violation> {
        let Some((name, value)) = field(line) else {
            return Err(Violation::new("header-line", "a header line has no colon"));
        };
        if !is_token(name) {
            let detail = "a header name is empty or has characters that do not belong in one, such as a space";
            return Err(Violation::new("header-name", detail));
        }
        refuse_lookalikes(name, line)?;
        if name.eq_ignore_ascii_case(b"connection") {
            return self.connection(value);
        }
        let Some(slot) = self.slot(name) else {
            return Ok(());
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Violation::new(
                "duplicate-header",
                format!("{} is there twice", name_of(line)),
            )),
        }
    }

    /// Where a field of this name is kept. The length is compared first, so most names cost one look.
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a [u8]>> {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => Some(&mut self.host),
            5 if is(b"range") => Some(&mut self.range),
            6 if is(b"expect") => Some(&mut self.expect),
            7 if is(b"upgrade") => Some(&mut self.upgrade),
            12 if is(b"content-type") => Some(&mut self.content_type),
            13 if is(b"authorization") => Some(&mut self.authorization),
            14 if is(b"content-length") => Some(&mut self.content_length),
            14 if is(b"http2-settings") => Some(&mut self.http2_settings),
            17 if is(b"transfer-encoding") => Some(&mut self.transfer_encoding),
            19 if is(b"proxy-authorization") => Some(&mut self.proxy_authorization),
            _ => None,
        }
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Violation> {
        for option in value
            .split(|&byte| byte == b',')
            .map(trimmed)
            .filter(|option| !option.is_empty())
        {
            if !CONNECTION_OPTIONS
                .iter()
                .any(|known| option.eq_ignore_ascii_case(known))
            {
                let detail = "header `connection` names something other than close, keep-alive, upgrade or te";
                return Err(Violation::new("connection", detail));
            }
            self.names_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }
}

/// Refuses what some server would take for another header, or for another request line.
fn refuse_lookalikes(name: &[u8], line: &[u8]) -> Result<(), Violation> {
    let under = name.contains(&b'_');
    if !under && !matches!(name, [b'x' | b'X', ..]) {
        return Ok(());
    }
    let fold = |byte: &u8| {
        if *byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    let folded: Vec<u8> = name.iter().map(fold).collect();
    if OVERRIDES.contains(&&*folded) {
        let detail = format!(
            "{} would replace the method or path that was judged",
            name_of(line)
        );
        return Err(Violation::new("override", detail));
    }
    // SECURITY: servers that turn `-` into `_` (CGI, WSGI) would read `Content_Length` as the real thing.
    let known = Fields::default().slot(&folded).is_some()
        || [&b"connection"[..], b"cookie"].contains(&&*folded);
    if under && known {
        return Err(Violation::new(
            "header-lookalike",
            format!("{} looks like another header", name_of(line)),
        ));
    }
    Ok(())
}
