//! The frame of gzip (RFC 1952): header and trailer of each member around raw deflate, read byte by byte as they come.

use flate2::{Crc, Decompress, FlushDecompress};

use super::{
    Unsafe,
    decode::{Step, inflate},
};

/// A decoder of gzip members, one behind another.
pub(super) struct Gzip {
    part: Part,
    inflate: Decompress,
    crc: Crc,
}

enum Part {
    /// Before a member, or in its header.
    Header(Header),
    /// In the deflate stream.
    Body,
    /// In the check sum and the size.
    Trailer(Vec<u8>),
}

/// The name of the coding in errors.
const NAME: &str = "gzip";
const TRAILER_BYTES: usize = 8;

impl Gzip {
    /// A decoder that waits for its first member.
    pub(super) fn new() -> Self {
        Self {
            part: Part::Header(Header::new()),
            inflate: Decompress::new(false),
            crc: Crc::new(),
        }
    }

    /// Whether the input may end here; before the first member too.
    pub(super) fn is_complete(&self) -> bool {
        matches!(&self.part, Part::Header(header) if header.place == Place::Fixed(0))
    }

    /// Takes input until it ends or `block` is full.
    pub(super) fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Unsafe> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match &mut self.part {
                Part::Header(header) => {
                    let Some(byte) = rest.first() else {
                        return Ok(Step { taken, made: 0 });
                    };
                    taken += 1;
                    if header.is_over_with(*byte)? {
                        self.inflate.reset(false);
                        self.crc.reset();
                        self.part = Part::Body;
                    }
                }
                Part::Body => {
                    let (step, ended) =
                        inflate(&mut self.inflate, rest, block, FlushDecompress::None, NAME)?;
                    self.crc.update(block.get(..step.made).unwrap_or_default());
                    if ended {
                        self.part = Part::Trailer(Vec::with_capacity(TRAILER_BYTES));
                    }
                    return Ok(Step {
                        taken: taken + step.taken,
                        made: step.made,
                    });
                }
                Part::Trailer(bytes) => {
                    let Some(byte) = rest.first() else {
                        return Ok(Step { taken, made: 0 });
                    };
                    taken += 1;
                    bytes.push(*byte);
                    if bytes.len() == TRAILER_BYTES {
                        let sums = [
                            self.crc.sum().to_le_bytes(),
                            self.crc.amount().to_le_bytes(),
                        ];
                        if *bytes != sums.concat() {
                            return Err(Unsafe::Corrupt(NAME));
                        }
                        self.part = Part::Header(Header::new());
                    }
                }
            }
        }
    }
}

/// A header while it is read.
struct Header {
    flags: u8,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the ten fixed bytes.
    Fixed(u8),
    /// Before the length of the extra field, its low byte if that was read.
    ExtraLength(Option<u8>),
    /// In something of so many bytes.
    Skip(u16),
    /// In a text that ends with a zero byte.
    Text,
}

const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAMED: u8 = 8;
const COMMENTED: u8 = 16;
const RESERVED: u8 = 0xe0;

impl Header {
    fn new() -> Self {
        Self {
            flags: 0,
            place: Place::Fixed(0),
        }
    }

    /// Takes a byte; true when the header ends with it.
    fn is_over_with(&mut self, byte: u8) -> Result<bool, Unsafe> {
        self.place = match self.place {
            Place::Fixed(at) => {
                let right = match at {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => byte & RESERVED == 0,
                    _ => true,
                };
                if !right {
                    return Err(Unsafe::Corrupt(NAME));
                }
                if at == 3 {
                    self.flags = byte;
                }
                if at == 9 {
                    return Ok(self.is_last());
                }
                Place::Fixed(at + 1)
            }
            Place::ExtraLength(None) => Place::ExtraLength(Some(byte)),
            Place::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => return Ok(self.is_last()),
                length => Place::Skip(length),
            },
            Place::Skip(1) => return Ok(self.is_last()),
            Place::Skip(left) => Place::Skip(left.saturating_sub(1)),
            Place::Text if byte == 0 => return Ok(self.is_last()),
            Place::Text => Place::Text,
        };
        Ok(false)
    }

    /// Goes to the next optional field; true when there is none.
    fn is_last(&mut self) -> bool {
        let fields = [
            (EXTRA, Place::ExtraLength(None)),
            (NAMED, Place::Text),
            (COMMENTED, Place::Text),
            (HEADER_CRC, Place::Skip(2)),
        ];
        let Some((flag, place)) = fields.into_iter().find(|(flag, _)| self.flags & flag != 0)
        else {
            return true;
        };
        self.flags &= !flag;
        self.place = place;
        false
    }
}
