//! Status lists: many credentials' standing in one compressed string of bits, in the two forms that are in use.
//!
//! A Token Status List (draft-ietf-oauth-status-list) is zlib and counts from the lowest bit; a Bitstring Status List (W3C)
//! is gzip and counts from the highest. Either grows when it is inflated, which is bounded.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// Largest list, inflated: 128 million credentials at one bit.
const INFLATED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Shortest list of the W3C, which hides whose status is looked up (Bitstring Status List section 3.2).
const BITSTRING_BYTES_MIN: usize = 16 * 1024;

/// A list of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList {
    /// Bits for each status: 1, 2, 4 or 8.
    bits: u8,
    order: Order,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    LowestFirst,
    HighestFirst,
}

impl StatusList {
    /// Reads `lst` of a Token Status List.
    ///
    /// # Errors
    /// When it is not what its name promises, or too large.
    pub fn token(bits: u64, lst: &str) -> Result<Self, &'static str> {
        let bits = match bits {
            1 | 2 | 4 | 8 => u8::try_from(bits).unwrap_or(1),
            _ => return Err("has statuses of a size that does not exist"),
        };
        let packed = URL_SAFE_NO_PAD
            .decode(lst)
            .map_err(|_cause| "is not base64url")?;
        Ok(Self {
            bits,
            order: Order::LowestFirst,
            bytes: inflated(ZlibDecoder::new(packed.as_slice()))?,
        })
    }

    /// Reads `encodedList` of a Bitstring Status List.
    ///
    /// # Errors
    /// When it is not what its name promises, too short or too large.
    pub fn bitstring(encoded: &str) -> Result<Self, &'static str> {
        // Multibase (`u` is base64url without padding), which older lists lack.
        let encoded = encoded.strip_prefix('u').unwrap_or(encoded);
        let packed = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_cause| "is not base64url")?;
        let bytes = inflated(MultiGzDecoder::new(packed.as_slice()))?;
        if bytes.len() < BITSTRING_BYTES_MIN {
            return Err("is too short to hide whose status is asked for");
        }
        Ok(Self {
            bits: 1,
            order: Order::HighestFirst,
            bytes,
        })
    }

    /// The status at this place; `None` beyond the end.
    pub fn at(&self, index: u64) -> Option<u8> {
        let bits = u64::from(self.bits);
        let at = index.checked_mul(bits)?;
        let byte = self.bytes.get(usize::try_from(at / 8).ok()?)?;
        let offset = u32::try_from(at % 8).ok()?;
        let shift = match self.order {
            Order::LowestFirst => offset,
            Order::HighestFirst => 7_u32.checked_sub(offset)?,
        };
        let mask = u8::MAX.checked_shr(u32::from(8_u8.checked_sub(self.bits)?))?;
        Some(byte.checked_shr(shift)? & mask)
    }
}

fn inflated(from: impl std::io::Read) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(INFLATED_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bounded = from.take(limit.saturating_add(1));
    bounded
        .read_to_end(&mut bytes)
        .map_err(|_cause| "cannot be inflated")?;
    if bytes.len() > INFLATED_BYTES_MAX {
        return Err("is too large when it is inflated");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };

    use super::*;

    #[track_caller]
    fn check(bits: u64, lst: &str, expect: &[u8]) {
        let list = StatusList::token(bits, lst).unwrap();
        let read: Vec<u8> = (0..).map_while(|index| list.at(index)).collect();
        assert_eq!(read, expect);
    }

    #[test]
    fn lists_are_those_of_the_published_examples() {
        // proves draft-ietf-oauth-status-list section 4.1 and appendix "Test vectors"
        check(
            1,
            "eNrbuRgAAhcBXQ",
            &[1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1],
        );
        check(2, "eNo76fITAAPfAgc", &[1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
        let vectors = include_str!("../../../tests/vectors/token_status_lists.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        for vector in vectors.as_array().unwrap() {
            let bits = vector["bits"].as_u64().unwrap();
            let list = StatusList::token(bits, vector["lst"].as_str().unwrap()).unwrap();
            let all = (0..1_u64 << 20).map(|index| (index, list.at(index).unwrap()));
            let set: Vec<_> = all.filter(|(_, status)| *status != 0).collect();
            assert_eq!(serde_json::json!(set), vector["set"], "{bits} bits");
            assert_eq!(list.at(1 << 20), None);
        }
    }

    #[test]
    fn a_bitstring_counts_from_the_left() {
        let mut bytes = vec![0; BITSTRING_BYTES_MIN];
        bytes[0] = 0b1000_0001;
        bytes[2] = 0b0001_0000;
        let list = StatusList::bitstring(&gzip(&bytes)).unwrap();
        let set: Vec<u64> = (0..131_072)
            .filter(|index| list.at(*index) == Some(1))
            .collect();
        assert_eq!(set, [0, 7, 19]);
        assert_eq!(list.at(131_072), None);
        assert_eq!(
            StatusList::bitstring(&format!("u{}", gzip(&bytes))).unwrap(),
            list
        );
    }

    #[test]
    fn what_is_malformed_or_grows_too_large_is_refused() {
        for (bits, lst) in [
            (3, "eNrbuRgAAhcBXQ"),
            (0, "eNrbuRgAAhcBXQ"),
            (1, "eNrbuRgA"),
            (1, "!"),
            (1, "AAAA"),
            (1, ""),
        ] {
            assert!(StatusList::token(bits, lst).is_err(), "{bits} {lst}");
        }
        let bomb = vec![0; INFLATED_BYTES_MAX + 1];
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&bomb).unwrap();
        let lst = URL_SAFE_NO_PAD.encode(packed.finish().unwrap());
        assert_eq!(
            StatusList::token(1, &lst),
            Err("is too large when it is inflated")
        );
        assert_eq!(
            StatusList::bitstring(&gzip(&bomb)),
            Err("is too large when it is inflated")
        );
        assert!(StatusList::bitstring(&gzip(&[0; 64])).is_err());
        assert!(StatusList::bitstring("eNrbuRgAAhcBXQ").is_err());
    }

    fn gzip(bytes: &[u8]) -> String {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        URL_SAFE_NO_PAD.encode(packed.finish().unwrap())
    }
}
