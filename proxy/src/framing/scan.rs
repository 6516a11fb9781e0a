//! The raw bytes of a head: where it ends, and that its lines are lines.
//!
//! No byte is looked at twice, however the head arrives. Meaning is the business of `head.rs`.

use super::{Violation, name_of};

/// Finds the end of a head that arrives in pieces. Positions count from the first byte of the head.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    at: usize,
    line: usize,
}

impl Scanner {
    /// Looks at the bytes that came since the last call; `Some` is the length of the head with its empty line.
    ///
    /// # Errors
    /// When a line ends in anything but CRLF, is folded, or has a control character, or the head is too long.
    ///
    /// # Spec
    /// RFC 9112 sections 2.2 and 5.2. A lone LF, which a recipient MAY accept, is refused.
    pub(super) fn run(
        &mut self,
        head: &[u8],
        bytes_max: usize,
    ) -> Result<Option<usize>, Violation> {
        let seen = head.get(..bytes_max).unwrap_or(head);
        while let Some(rest) = seen.get(self.at..).filter(|rest| !rest.is_empty()) {
            if self.at == self.line && self.line > 0 && matches!(rest, [b' ' | b'\t', ..]) {
                let detail = "a header line begins with white space (obsolete line folding)";
                return Err(Violation::new("obs-fold", detail));
            }
            let plain = rest
                .iter()
                .take_while(|&&byte| byte >= 0x20 && byte != 0x7f)
                .count();
            self.at += plain;
            match rest.get(plain..).unwrap_or_default() {
                [b'\t', ..] => self.at += 1,
                [b'\r', b'\n', ..] => {
                    let empty = self.at == self.line;
                    if empty && self.line == 0 {
                        return Err(Violation::new(
                            "leading-empty-line",
                            "an empty line before the request line",
                        ));
                    }
                    self.at += 2;
                    self.line = self.at;
                    if empty {
                        return Ok(Some(self.at));
                    }
                }
                [] | [b'\r'] => break,
                [b'\r', ..] => return Err(self.wrong(head, "bare-cr", "has a CR without LF")),
                [b'\n', ..] => return Err(self.wrong(head, "bare-lf", "ends in LF without CR")),
                [_, ..] => {
                    return Err(self.wrong(head, "control-character", "has a control character"));
                }
            }
        }
        if head.len() > bytes_max {
            return Err(Violation::new(
                "head-too-large",
                format!("the head is longer than {bytes_max} bytes"),
            ));
        }
        Ok(None)
    }

    fn wrong(&self, head: &[u8], code: &'static str, problem: &str) -> Violation {
        if self.line == 0 {
            return Violation::new(code, format!("the request line {problem}"));
        }
        let line = head.get(self.line..=self.at).unwrap_or_default();
        Violation::new(code, format!("{} {problem}", name_of(line)))
    }
}

/// The lines of a complete head that a [`Scanner`] accepted, without its empty line.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    body.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Splits a header line at its colon and takes the optional white space off the value.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name, trimmed(value.get(1..)?)))
}

/// Without optional white space: SP and HTAB only.
pub(super) fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
