//! What an agent's own signature says: scope, signed headers, where it stands. The signature itself is worth nothing and
//! is not looked at: the agent signs with a placeholder.

use exeat_types::Timestamp;
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;

use crate::{Ask, Refused};

/// The algorithm of version 4 with a shared key.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The query parameters of a presigned request. They are taken off whatever they hold.
pub(super) const PARAMETERS: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
];

/// What presigned requests of version 2 name their key by.
const KEY_OF_VERSION_2: &str = "AWSAccessKeyId";

/// The longest that a presigned request may be good for: seven days.
const EXPIRES_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
/// The longest word of a scope.
const WORD_BYTES_MAX: usize = 64;
/// The most headers that one signature covers.
const SIGNED_HEADERS_MAX: usize = 128;

/// What an agent's signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    /// The id of the key, which is a placeholder or nothing.
    pub(super) key: String,
    /// The region of its scope.
    pub(super) region: String,
    /// The service of its scope.
    pub(super) service: String,
    /// The headers it covers.
    pub(super) headers: Vec<HeaderName>,
    /// Where it stands.
    pub(super) place: Place,
}

/// Where a signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In `Authorization`.
    Header,
    /// In the query.
    Query {
        /// When it was made, as it says.
        from: Timestamp,
        /// For how long it is good.
        seconds: u64,
    },
}

impl Stated {
    /// Reads the signature of a request; `None` when it bears none.
    pub(super) fn of(ask: &Ask<'_>) -> Result<Option<Self>, Refused> {
        let mut values = ask.headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (values.next(), values.next());
        let presigned = Parameters::read(ask.query.unwrap_or_default()).map_err(unsignable)?;
        match (first, second, presigned) {
            (None, _, None) => Ok(None),
            (Some(value), None, None) => Self::of_header(value).map(Some).map_err(unsignable),
            (None, _, Some(found)) => found.stated().map(Some).map_err(unsignable),
            (Some(_), Some(_), _) | (Some(_), None, Some(_)) => {
                Err(unsignable("it bears more than one signature"))
            }
        }
    }

    fn of_header(value: &HeaderValue) -> Result<Self, &'static str> {
        Self::parse(
            value
                .to_str()
                .map_err(|_cause| "its signature is not text")?,
        )
    }

    /// Reads the value of `Authorization`.
    ///
    /// # Errors
    /// When it is no signature of version 4 with a shared key, in one phrase.
    pub(super) fn parse(value: &str) -> Result<Self, &'static str> {
        let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
        check_algorithm(algorithm)?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or(MALFORMED)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(MALFORMED),
            };
            if slot.replace(value).is_some() {
                return Err(MALFORMED);
            }
        }
        check_signature(signature.ok_or(MALFORMED)?)?;
        let (key, region, service) = scope(credential.ok_or(MALFORMED)?)?;
        Ok(Self {
            key,
            region,
            service,
            headers: signed_headers(headers.ok_or(MALFORMED)?)?,
            place: Place::Header,
        })
    }
}

const MALFORMED: &str = "its signature is malformed";

pub(super) fn unsignable(problem: &'static str) -> Refused {
    Refused::Unsignable(problem)
}

/// The parameters of a presigned request, decoded, in the order of [`PARAMETERS`].
struct Parameters([Option<String>; 7]);

impl Parameters {
    /// `None` when there is no signature in the query.
    fn read(query: &str) -> Result<Option<Self>, &'static str> {
        let mut found = [const { None::<String> }; 7];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            if name.eq_ignore_ascii_case(KEY_OF_VERSION_2) {
                return Err("signatures of version 2 are not made here");
            }
            let place = PARAMETERS.iter().position(|known| *known == name);
            let Some(slot) = place.and_then(|place| found.get_mut(place)) else {
                continue;
            };
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_cause| MALFORMED)?.into_owned();
            if slot.replace(value).is_some() {
                return Err(MALFORMED);
            }
        }
        Ok(found.iter().any(Option::is_some).then_some(Self(found)))
    }

    fn stated(self) -> Result<Stated, &'static str> {
        let [
            algorithm,
            credential,
            date,
            expires,
            headers,
            _token,
            signature,
        ] = self.0;
        check_algorithm(&algorithm.ok_or(MALFORMED)?)?;
        check_signature(&signature.ok_or(MALFORMED)?)?;
        let (key, region, service) = scope(&credential.ok_or(MALFORMED)?)?;
        let seconds: u64 = expires
            .ok_or(MALFORMED)?
            .parse()
            .map_err(|_cause| MALFORMED)?;
        if !(1..=EXPIRES_SECONDS_MAX).contains(&seconds) {
            return Err("it is presigned for no time, or for more than a week");
        }
        Ok(Stated {
            key,
            region,
            service,
            headers: signed_headers(&headers.ok_or(MALFORMED)?)?,
            place: Place::Query {
                from: moment(&date.ok_or(MALFORMED)?).ok_or(MALFORMED)?,
                seconds,
            },
        })
    }
}

fn check_algorithm(word: &str) -> Result<(), &'static str> {
    match word {
        ALGORITHM => Ok(()),
        "AWS4-ECDSA-P256-SHA256" => Err("signatures of version 4a are not made here"),
        _ => Err("its authorization is no signature of version 4"),
    }
}

fn check_signature(text: &str) -> Result<(), &'static str> {
    let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then_some(()).ok_or(MALFORMED)
}

/// Key, region and service of `KEY/DAY/REGION/SERVICE/aws4_request`.
fn scope(credential: &str) -> Result<(String, String, String), &'static str> {
    let mut parts = credential.rsplitn(5, '/');
    let mut next = || parts.next().ok_or(MALFORMED);
    let (end, service, region, day, key) = (next()?, next()?, next()?, next()?, next()?);
    let dated = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    if end != "aws4_request" || !dated || key.is_empty() || !is_word(region) || !is_word(service) {
        return Err(MALFORMED);
    }
    Ok((key.to_owned(), region.to_owned(), service.to_owned()))
}

/// Whether a text may be a region or a service.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn signed_headers(list: &str) -> Result<Vec<HeaderName>, &'static str> {
    let mut names = Vec::new();
    for name in list.split(';') {
        if names.len() == SIGNED_HEADERS_MAX {
            return Err(MALFORMED);
        }
        names.push(HeaderName::from_bytes(name.as_bytes()).map_err(|_cause| MALFORMED)?);
    }
    Ok(names)
}

/// Reads `20260131T120000Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let (day, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if day.len() != 8 || clock.len() != 6 || !digits(day) || !digits(clock) {
        return None;
    }
    let (year, rest) = day.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    let (hour, rest) = clock.split_at_checked(2)?;
    let (minute, second) = rest.split_at_checked(2)?;
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "b27ccfbfa7df52a200ff74193ca6e32d4b48b8856fab7ebf1c595d0670a7e470";

    #[track_caller]
    fn check(value: &str, expect: Result<(&str, &str, usize), &str>) {
        let got = Stated::parse(&value.replace("SIG", SIGNATURE));
        let got = got.as_ref().map(|stated| {
            let scope = (stated.region.as_str(), stated.service.as_str());
            (scope.0, scope.1, stated.headers.len())
        });
        assert_eq!(got, expect.as_ref().map(|it| *it), "{value}");
    }

    #[test]
    fn the_scope_is_read_and_everything_else_is_refused() {
        let good = Ok(("eu-west-1", "s3", 2));
        check(
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=SIG",
            good,
        );
        check(
            "AWS4-HMAC-SHA256 Signature=SIG,SignedHeaders=host;x-amz-date,Credential=a/b/20260131/eu-west-1/s3/aws4_request",
            good,
        );
        let malformed = Err(MALFORMED);
        for wrong in [
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu-west-1/s3/aws4_request, SignedHeaders=host",
            "AWS4-HMAC-SHA256 Credential=AK/2026013/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/EU/s3/aws4_request, SignedHeaders=host, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws5_request, SignedHeaders=host, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws4_request, SignedHeaders=ho st, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws4_request, SignedHeaders=, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws4_request, SignedHeaders=host, Signature=SI",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws4_request, SignedHeaders=host, Signature=SIG, Signature=SIG",
            "AWS4-HMAC-SHA256 Credential=AK/20260131/eu/s3/aws4_request, SignedHeaders=host, Signature=SIG, More=1",
        ] {
            check(wrong, malformed);
        }
        check(
            "AWS4-ECDSA-P256-SHA256 Credential=AK",
            Err("signatures of version 4a are not made here"),
        );
        for other in ["Bearer abc", "AWS AK:sig", ""] {
            check(other, Err("its authorization is no signature of version 4"));
        }
    }

    #[test]
    fn a_presigned_request_of_version_2_is_refused() {
        let query = "AWSAccessKeyId=AK&Expires=1141889120&Signature=vjby";
        let expect = "signatures of version 2 are not made here";
        assert_eq!(Parameters::read(query).err(), Some(expect));
        assert!(matches!(Parameters::read("Expires=1"), Ok(None)));
    }

    #[test]
    fn a_moment_is_a_real_one() {
        let read = |text: &str| moment(text).map(|moment| moment.to_string());
        assert_eq!(
            read("20130524T000000Z").as_deref(),
            Some("2013-05-24T00:00:00.000Z")
        );
        for wrong in [
            "20130532T000000Z",
            "20130524T000000",
            "2013-05-24T00:00:00Z",
            "20130524T00000+Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
