//! The one written form of a record: a body in an envelope, one line of canonical JSON (RFC 8785).
//!
//! `{"body":{..},"kind":"..","prev":"sha256:..","seq":0,"time":"..","v":1}`. The envelope's members sort behind `body`, so
//! a body is written by the caller and only wrapped by the writer. What is read is checked byte by byte; an unknown kind
//! or version is an error, never skipped.

use exeat_types::{CallId, Digest, Malformed, Timestamp};

use crate::record::{Kind, Record};

/// Wraps a body; `prev` and `time` are already in their written form.
pub(crate) fn wrap(out: &mut Vec<u8>, kind: Kind, body: &[u8], link: &Link<'_>) {
    out.extend_from_slice(b"{\"body\":");
    out.extend_from_slice(body);
    out.extend_from_slice(b",\"kind\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(b"\",\"prev\":\"sha256:");
    push_hex(out, link.prev.as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    push_decimal(out, link.seq);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(link.time.as_bytes());
    out.extend_from_slice(b"\",\"v\":1}");
}

/// How a record hangs in the chain.
pub(crate) struct Link<'a> {
    pub(crate) prev: Digest,
    pub(crate) seq: u64,
    pub(crate) time: &'a str,
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            });
        }
    }
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut rest = value;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// A record as it was written, taken apart without being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The kind's own members.
    pub body: &'a [u8],
    /// The kind.
    pub kind: Kind,
    /// The leaf hash of the record before.
    pub prev: Digest,
    /// The place in the tree, from zero.
    pub seq: u64,
    /// When it was written, RFC 3339.
    pub time: &'a str,
}

/// The name of a member of a body, as it is written, colon included.
#[derive(Clone, Copy)]
pub(crate) struct Member(&'static [u8]);

impl Member {
    pub(crate) const APPROVAL: Self = Self(b"\"approval\":");
    pub(crate) const CALL: Self = Self(b"\"call\":");
    pub(crate) const RESERVATION: Self = Self(b"\"reservation\":");
    pub(crate) const RESERVATIONS: Self = Self(b"\"reservations\":");
    pub(crate) const RESULT: Self = Self(b"\"result\":");
    pub(crate) const SETTLED: Self = Self(b"\"settled\":");
    pub(crate) const SETTLED_ALONE: Self = Self(b"\"settled\":{");
}

impl<'a> Envelope<'a> {
    /// Takes a written record apart, from both ends: every envelope member has one place and one form.
    ///
    /// # Errors
    /// Says which member is not as it must be.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = |problem: &str| Malformed::new("record", problem);
        let rest = payload
            .strip_prefix(b"{\"body\":")
            .ok_or_else(|| wrong("expected `{\"body\":` at the start"))?;
        let Some(rest) = rest.strip_suffix(b",\"v\":1}") else {
            return Err(wrong(
                "expected `\"v\":1}` at the end: another version, or not a record",
            ));
        };
        let (rest, time) =
            last_text(rest, b",\"time\":\"", 24).ok_or_else(|| wrong("bad `time`"))?;
        let time = std::str::from_utf8(time).map_err(|_cause| wrong("bad `time`"))?;
        let (rest, seq) = last_number(rest, b",\"seq\":").ok_or_else(|| wrong("bad `seq`"))?;
        let (rest, prev) =
            last_text(rest, b",\"prev\":\"", 71).ok_or_else(|| wrong("bad `prev`"))?;
        let prev = read_digest(prev).ok_or_else(|| wrong("bad `prev`"))?;
        let rest = rest
            .strip_suffix(b"\"")
            .ok_or_else(|| wrong("bad `kind`"))?;
        let at = memchr::memrchr(b'"', rest).ok_or_else(|| wrong("bad `kind`"))?;
        let (rest, name) = rest
            .split_at_checked(at + 1)
            .ok_or_else(|| wrong("bad `kind`"))?;
        let body = rest
            .strip_suffix(b",\"kind\":\"")
            .ok_or_else(|| wrong("bad `kind`"))?;
        let kind = Kind::from_name(name).ok_or_else(|| wrong("unknown `kind`"))?;
        if !body.starts_with(b"{") || !body.ends_with(b"}") {
            return Err(wrong("expected an object as `body`"));
        }
        Ok(Self {
            body,
            kind,
            prev,
            seq,
            time,
        })
    }

    /// The call a call record belongs to, found without parsing the body.
    pub fn call(&self) -> Option<CallId> {
        std::str::from_utf8(self.text(Member::CALL)?)
            .ok()?
            .parse()
            .ok()
    }

    /// Whether the body has a member of this name.
    pub(crate) fn has(&self, member: Member) -> bool {
        self.behind(member).is_some()
    }

    /// The text of a member that holds plain text, such as an id.
    pub(crate) fn text(&self, member: Member) -> Option<&'a [u8]> {
        let rest = self.behind(member)?.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', rest)?;
        rest.get(..end)
    }

    /// What stands behind a member's name. A quote inside a JSON text is escaped, so these bytes are a name or nothing.
    fn behind(&self, Member(mark): Member) -> Option<&'a [u8]> {
        let at = memchr::memmem::find(self.body, mark)?;
        self.body.get(at + mark.len()..)
    }

    /// The record itself.
    ///
    /// # Errors
    /// When the body is not of the kind.
    pub fn record(&self) -> Result<Record, Malformed> {
        Record::read(self.kind, self.body)
    }

    /// The time as a moment.
    ///
    /// # Errors
    /// When it is not RFC 3339.
    pub fn moment(&self) -> Result<Timestamp, Malformed> {
        self.time.parse()
    }
}

/// Splits `..NAME<text>"` where the text has a known length.
fn last_text<'a>(rest: &'a [u8], name: &[u8], bytes: usize) -> Option<(&'a [u8], &'a [u8])> {
    let rest = rest.strip_suffix(b"\"")?;
    let (rest, text) = rest.split_at_checked(rest.len().checked_sub(bytes)?)?;
    Some((rest.strip_suffix(name)?, text))
}

fn last_number<'a>(rest: &'a [u8], name: &[u8]) -> Option<(&'a [u8], u64)> {
    let at = memchr::memrchr(b':', rest)?;
    let (rest, digits) = rest.split_at_checked(at + 1)?;
    let mut value = 0u64;
    if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|&d| d < 10)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some((rest.strip_suffix(name)?, value))
}

fn read_digest(text: &[u8]) -> Option<Digest> {
    let hex = text
        .strip_prefix(b"sha256:")
        .filter(|hex| hex.len() == 64)?;
    let mut bytes = [0u8; 32];
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let (high, low) = (hex_value(high), hex_value(low));
        all |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (all < 16).then(|| Digest::from_bytes(bytes))
}

/// The value of a lower-case hex digit, 255 for anything else. Without branches: this runs 64 times a record.
fn hex_value(digit: u8) -> u8 {
    #[expect(clippy::indexing_slicing, reason = "computed while compiling")]
    const VALUES: [u8; 256] = {
        let mut values = [255; 256];
        let mut value = 0;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    VALUES.get(usize::from(digit)).copied().unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use exeat_types::{
        AccountId, AgentId, ApprovalId, CallId, CredentialId, Origin, Reason, Seal, ToolName,
        canonical_json, unique_json,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        call::{
            Access, CredentialUse, Ending, Intent, Outcome, Refusal, Reservation, Settlement,
            Window,
        },
        event::{Alarm, Sweep},
    };

    /// Whether optional members are there.
    #[derive(Debug, Clone, Copy)]
    struct Optional(bool);

    fn record() -> impl Strategy<Value = Record> {
        let counts = prop::collection::btree_map(any::<String>(), any::<u64>(), 0..4);
        (
            any::<[u8; 16]>(),
            any::<String>(),
            any::<u64>(),
            prop::bool::ANY.prop_map(Optional),
            counts,
            0..4usize,
        )
            .prop_map(|(id, text, number, flag, counts, kind)| {
                let call = CallId::from_bytes(id);
                match kind {
                    0 => Record::Intent(intent(call, &text, number, flag)),
                    1 => Record::Outcome(outcome(call, number, flag, counts)),
                    2 => Record::Refusal(refusal(call, &text, number, flag)),
                    _ => Record::Alarm(Alarm {
                        agent: flag.0.then(|| AgentId::new("claude").unwrap()),
                        alarm: "placeholder-misused".to_owned(),
                        call: flag.0.then_some(call),
                        detail: text,
                    }),
                }
            })
    }

    fn intent(call: CallId, text: &str, amount: u64, flag: Optional) -> Intent {
        let reservation = Reservation {
            amount,
            budget: text.to_owned(),
            limit: flag.0.then_some(amount),
            unit: "USD-6".to_owned(),
            window: flag.0.then_some(Window::Rolling { seconds: 60 }),
        };
        Intent {
            account: AccountId::local(),
            agent: AgentId::new("claude").unwrap(),
            approval: None,
            argument_digest: Digest::of(text.as_bytes()),
            call,
            call_digest: Digest::of(b"call"),
            capture: flag.0.then(|| Digest::of(b"capture")),
            category: text.to_owned(),
            credential: None,
            method: "GET".to_owned(),
            observed: flag.0,
            origin: Origin::parse("https://api.example:8443").unwrap(),
            path: format!("/{text}"),
            policy_digest: Digest::of(b"policy"),
            reservations: vec![reservation],
            risk: None,
            rules: vec![text.to_owned(), text.to_owned()],
            run: None,
            seal: Seal::Gateway,
            tool: ToolName::new("example.read").unwrap(),
        }
    }

    fn outcome(
        call: CallId,
        number: u64,
        flag: Optional,
        counts: BTreeMap<String, u64>,
    ) -> Outcome {
        let access = Access {
            absent: vec![CredentialId::new("visa").unwrap()],
            attempts: flag.0.then_some(2),
            credential: flag.0.then(|| CredentialUse {
                id: CredentialId::new("github").unwrap(),
                kind: "bearer".to_owned(),
                thumbprint: "7f".to_owned(),
                version: 3,
            }),
        };
        Outcome {
            access: flag.0.then_some(access),
            durations_us: counts.clone(),
            reason: flag.0.then_some(Reason::UpstreamTimeout),
            redactions: counts,
            request_bytes: number,
            settled: vec![Settlement {
                amount: number,
                budget: "claude/spend/day".to_owned(),
                unit: "sat".to_owned(),
            }],
            status: flag.0.then_some(504),
            ..Outcome::ended(call, Ending::UpstreamFailed)
        }
    }

    fn refusal(call: CallId, text: &str, count: u64, flag: Optional) -> Refusal {
        Refusal {
            account: AccountId::local(),
            agent: AgentId::new("claude").unwrap(),
            approval: flag.0.then(|| ApprovalId::new("apr-1").unwrap()),
            call,
            count,
            limit: flag.0.then(|| text.to_owned()),
            method: text.to_owned(),
            origin: Origin::parse("http://127.0.0.1:81").unwrap(),
            policy_digest: Digest::of(b"policy"),
            reason: Reason::ToolUnknown,
            risk: None,
            rules: vec![text.to_owned()],
            seal: Seal::None,
            tool: flag.0.then(|| ToolName::new("example.read").unwrap()),
        }
    }

    fn wrapped(record: &Record, seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let time = Timestamp::from_millis(seq % 200_000_000_000_000).to_string();
        let link = Link {
            prev: Digest::of(&seq.to_be_bytes()),
            seq,
            time: &time,
        };
        wrap(&mut out, record.kind(), &record.body().unwrap(), &link);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_written_record_is_canonical_json_and_reads_back(
            record in record(),
            seq in 0..crate::json::COUNT_MAX,
        ) {
            let line = wrapped(&record, seq);
            let value = unique_json(&line).unwrap();
            prop_assert_eq!(&canonical_json(&value).unwrap(), &line);
            let envelope = Envelope::parse(&line).unwrap();
            prop_assert_eq!((envelope.seq, envelope.kind), (seq, record.kind()));
            prop_assert_eq!(envelope.call(), record.call());
            prop_assert!(envelope.moment().is_ok());
            let again = envelope.record().unwrap();
            prop_assert_eq!(again.body().unwrap(), envelope.body);
        }

        #[test]
        fn no_bytes_make_the_reader_fail_otherwise_than_with_an_error(
            record in record(),
            cut in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut line = wrapped(&record, 7);
            let at = cut.index(line.len());
            line[at] = byte;
            if let Ok(envelope) = Envelope::parse(&line) {
                let _record = envelope.record();
                let _call = envelope.call();
            }
            let _cut = Envelope::parse(&line[..at]);
        }
    }

    #[test]
    fn unknown_kinds_versions_and_members_are_errors() {
        let check = |line: &str, problem: &str| {
            let error = Envelope::parse(line.as_bytes()).unwrap_err();
            assert_eq!(error.problem, problem, "{line}");
        };
        let line = String::from_utf8(wrapped(
            &Record::Sweep(Sweep {
                calls: 0,
                cut: None,
            }),
            3,
        ));
        let line = line.unwrap();
        assert!(Envelope::parse(line.as_bytes()).is_ok());
        check(&line.replace("\"sweep\"", "\"sweeps\""), "unknown `kind`");
        check(
            &line.replace("\"v\":1", "\"v\":2"),
            "expected `\"v\":1}` at the end: another version, or not a record",
        );
        check(&line.replace("\"seq\":3", "\"seq\":03"), "bad `seq`");
        check(&line.replace("sha256:", "sha255:"), "bad `prev`");
        check(
            &line.replace("{\"body\":", "{ \"body\":"),
            "expected `{\"body\":` at the start",
        );
        check("", "expected `{\"body\":` at the start");
        let more = line.replace("{\"calls\"", "{\"also\":1,\"calls\"");
        let envelope = Envelope::parse(more.as_bytes()).unwrap();
        assert!(
            envelope
                .record()
                .unwrap_err()
                .problem
                .contains("unknown field `also`")
        );
    }
}
