//! Names inside the sandbox, answered without asking anyone: policy first, then an address of our own.
//!
//! Sans-IO and strict: one question, no compression, no surprises. A name that may not be reached is refused; one that
//! may gets an address from 198.18.0.0/15 (RFC 2544), or the one it is told to give, which leads to the listeners. A query
//! never leaves the machine.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use exeat_types::Host;

/// Longest query that is read.
pub(crate) const QUERY_BYTES_MAX: usize = 4096;
/// Most names that one run can learn.
const NAMES_MAX: u32 = 65_536;
/// The first synthetic address; the block has twice as many as there can be names.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// How long an answer may be kept; addresses are stable for the whole run.
const TTL_SECS: u32 = 300;

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: u8 = 63;

// RFC 1035 section 4.1.1.
const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const RD: u16 = 0x0100;
const RA: u16 = 0x0080;
const NO_ERROR: u16 = 0;
const FORMAT_ERROR: u16 = 1;
const SERVER_FAILURE: u16 = 2;
const NOT_IMPLEMENTED: u16 = 4;
const REFUSED: u16 = 5;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// A pointer to the name in the question, right behind the header.
const NAME_POINTER: u16 = 0xC000 | 12;

/// Addresses that stand for names, stable for one run.
#[derive(Debug, Default)]
pub struct Synthetic {
    addresses: HashMap<Host, Ipv4Addr>,
    names: HashMap<Ipv4Addr, Host>,
    always: Vec<IpAddr>,
}

impl Synthetic {
    /// Gives these addresses for every name, at most one of each family, instead of one for each name.
    pub fn always(addresses: &[IpAddr]) -> Self {
        Self {
            always: addresses.to_vec(),
            ..Self::default()
        }
    }

    /// The name that an address stands for.
    pub fn name(&self, address: IpAddr) -> Option<&Host> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        self.names.get(&address)
    }

    /// The address of a name to give to a question, the same each time; none when there are too many names.
    fn answer(&mut self, host: &Host, kind: u16) -> Result<Option<IpAddr>, TooMany> {
        if !self.always.is_empty() {
            let fits =
                |address: &&IpAddr| kind == if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
            return Ok(self.always.iter().find(fits).copied());
        }
        if kind != TYPE_A {
            return Ok(None);
        }
        let address = self.address(host).ok_or(TooMany)?;
        Ok(Some(address.into()))
    }

    fn address(&mut self, host: &Host) -> Option<Ipv4Addr> {
        if let Some(address) = self.addresses.get(host) {
            return Some(*address);
        }
        let count = u32::try_from(self.addresses.len())
            .ok()
            .filter(|count| *count < NAMES_MAX)?;
        let address = Ipv4Addr::from_bits(FIRST.to_bits().checked_add(count)?);
        self.addresses.insert(host.clone(), address);
        self.names.insert(address, host.clone());
        Some(address)
    }
}

/// There is no address left.
struct TooMany;

/// Answers one query; none when it is no query at all and silence is the answer.
///
/// # Spec
/// RFC 1035 section 4.1; RFC 6761 section 6.3 for `localhost`; RFC 9460: no HTTPS records, so none that lead elsewhere.
pub fn answer(
    query: &[u8],
    allowed: &dyn Fn(&Host) -> bool,
    addresses: &mut Synthetic,
) -> Option<Vec<u8>> {
    let header = Header::read(query)?;
    if header.flags & QR != 0 {
        return None;
    }
    if header.flags & OPCODE != 0 {
        return Some(header.reply(NOT_IMPLEMENTED, &[], None));
    }
    let Some(question) = Question::read(&header, query) else {
        return Some(header.reply(FORMAT_ERROR, &[], None));
    };
    let (code, address) = decide(&question, allowed, addresses);
    Some(header.reply(code, question.bytes, address))
}

fn decide(
    question: &Question<'_>,
    allowed: &dyn Fn(&Host) -> bool,
    addresses: &mut Synthetic,
) -> (u16, Option<IpAddr>) {
    let Ok(host @ Host::Name(_)) = Host::parse(&question.name) else {
        return (REFUSED, None);
    };
    if question.class != CLASS_IN {
        return (REFUSED, None);
    }
    if host
        .name()
        .is_some_and(|name| name == "localhost" || name.ends_with(".localhost"))
    {
        return match question.kind {
            TYPE_A => (NO_ERROR, Some(Ipv4Addr::LOCALHOST.into())),
            TYPE_AAAA => (NO_ERROR, Some(std::net::Ipv6Addr::LOCALHOST.into())),
            _ => (NO_ERROR, None),
        };
    }
    // Policy before resolving: nothing is remembered about a name that may not be reached.
    if !allowed(&host) {
        return (REFUSED, None);
    }
    match addresses.answer(&host, question.kind) {
        Ok(address) => (NO_ERROR, address),
        Err(TooMany) => (SERVER_FAILURE, None),
    }
}

struct Header {
    id: u16,
    flags: u16,
    questions: u16,
    records: [u16; 3],
}

impl Header {
    fn read(query: &[u8]) -> Option<Self> {
        if query.len() > QUERY_BYTES_MAX {
            return None;
        }
        let field = |index: usize| number(query, index * 2);
        Some(Self {
            id: field(0)?,
            flags: field(1)?,
            questions: field(2)?,
            records: [field(3)?, field(4)?, field(5)?],
        })
    }

    fn reply(&self, code: u16, question: &[u8], address: Option<IpAddr>) -> Vec<u8> {
        let flags = QR | RA | (self.flags & (OPCODE | RD)) | code;
        let counts = [
            u16::from(!question.is_empty()),
            u16::from(address.is_some()),
            0,
            0,
        ];
        let mut out = Vec::with_capacity(HEADER_BYTES + question.len() + 28);
        for field in [self.id, flags].into_iter().chain(counts) {
            out.extend(field.to_be_bytes());
        }
        out.extend(question);
        let Some(address) = address else { return out };
        let kind = if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        for field in [NAME_POINTER, kind, CLASS_IN] {
            out.extend(field.to_be_bytes());
        }
        out.extend(TTL_SECS.to_be_bytes());
        match address {
            IpAddr::V4(address) => {
                out.extend(4u16.to_be_bytes());
                out.extend(address.octets());
            }
            IpAddr::V6(address) => {
                out.extend(16u16.to_be_bytes());
                out.extend(address.octets());
            }
        }
        out
    }
}

struct Question<'a> {
    /// The question as it was asked, so that the reply keeps its letter case.
    bytes: &'a [u8],
    name: String,
    kind: u16,
    class: u16,
}

impl<'a> Question<'a> {
    /// Exactly one question, nothing else but one additional record at most (RFC 6891), which is not looked at.
    fn read(header: &Header, query: &'a [u8]) -> Option<Self> {
        let [answers, authorities, additional] = header.records;
        if header.questions != 1 || answers != 0 || authorities != 0 || additional > 1 {
            return None;
        }
        let start = query.get(HEADER_BYTES..)?;
        let (mut name, mut rest) = (String::new(), start);
        loop {
            let (&length, after) = rest.split_first()?;
            if length == 0 {
                rest = after;
                break;
            }
            if length > LABEL_BYTES_MAX {
                return None;
            }
            let (label, after) = after.split_at_checked(usize::from(length))?;
            if !name.is_empty() {
                name.push('.');
            }
            // A dot within a label would read as two labels.
            let label = std::str::from_utf8(label)
                .ok()
                .filter(|label| !label.contains('.'))?;
            name.push_str(label);
            rest = after;
            if start.len() - rest.len() >= NAME_BYTES_MAX {
                return None;
            }
        }
        let (kind, class) = (number(rest, 0)?, number(rest, 2)?);
        let tail = rest.get(4..)?;
        if tail.is_empty() != (additional == 0) {
            return None;
        }
        let bytes = start.get(..start.len() - tail.len())?;
        Some(Self {
            bytes,
            name,
            kind,
            class,
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
