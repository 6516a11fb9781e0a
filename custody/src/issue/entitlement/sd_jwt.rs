//! SD-JWT (RFC 9901): a signed token whose claims are disclosed one by one, read strictly and shown as little as needed.
//!
//! Reading takes no signature for granted: [`SdJwt::read`] only takes the text apart, and [`SdJwt::resolve`] puts
//! disclosures into claims that were verified before.

use std::collections::{HashMap, HashSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use exeat_types::{Digest, unique_json};
use serde_json::Value;

use crate::jose::Members;

/// Most disclosures of one credential.
const DISCLOSURES_MAX: usize = 256;
/// Deepest that disclosures lie in each other.
const DEPTH_MAX: usize = 32;
/// Names that no disclosed claim may have (RFC 9901 section 7.1).
const RESERVED: [&str; 2] = ["_sd", "..."];

/// An SD-JWT, taken apart.
#[derive(Debug, Clone)]
pub struct SdJwt {
    /// The JWT of the issuer.
    jwt: String,
    disclosures: Vec<Disclosure>,
}

/// A claim, or an element of an array, that may be shown.
#[derive(Debug, Clone)]
struct Disclosure {
    text: String,
    digest: String,
    /// Elements of arrays have none.
    name: Option<String>,
    value: Value,
}

/// The claims of an SD-JWT, all disclosed, and where each disclosure stands among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Every claim.
    pub claims: Members,
    /// For each disclosure the names that lead to it, joined by dots.
    places: Vec<String>,
}

impl SdJwt {
    /// Takes a text apart: `<issuer's JWT>~<disclosure>~...~`.
    ///
    /// # Errors
    /// When it has another form, or ends in a proof of somebody else's: a phrase that follows a name.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let body = text
            .strip_suffix('~')
            .ok_or("is no SD-JWT, which ends in `~`, or one that was presented already")?;
        let mut parts = body.split('~');
        let jwt = parts.next().unwrap_or_default().to_owned();
        let disclosures: Vec<Disclosure> = parts
            .take(DISCLOSURES_MAX.saturating_add(1))
            .map(|part| Disclosure::read(part).ok_or("has a malformed disclosure"))
            .collect::<Result<_, _>>()?;
        if disclosures.len() > DISCLOSURES_MAX {
            return Err("has too many disclosures");
        }
        Ok(Self { jwt, disclosures })
    }

    /// The JWT of the issuer, whose signature is still to be verified.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// Puts every disclosure into the claims of the issuer.
    ///
    /// # Errors
    /// When a digest stands twice, a disclosure belongs nowhere, or a name is taken (RFC 9901 section 7.1).
    pub fn resolve(&self, claims: &Members) -> Result<Resolved, &'static str> {
        match claims.get("_sd_alg") {
            None => {}
            Some(alg) if alg == "sha-256" => {}
            Some(_) => return Err("has digests by another algorithm than SHA-256"),
        }
        let mut by_digest = HashMap::new();
        for (place, one) in self.disclosures.iter().enumerate() {
            if by_digest.insert(one.digest.as_str(), place).is_some() {
                return Err("has a disclosure twice");
            }
        }
        let mut resolver = Resolver {
            sd_jwt: self,
            by_digest,
            seen: HashSet::new(),
            places: vec![None; self.disclosures.len()],
        };
        let mut claims = resolver.object(claims, "", 0)?;
        claims.remove("_sd_alg");
        let places: Option<Vec<String>> = resolver.places.into_iter().collect();
        Ok(Resolved {
            claims,
            places: places.ok_or("has a disclosure that belongs nowhere")?,
        })
    }

    /// What is shown: the issuer's JWT and the disclosures of these claims, with all that they lie in. `*` is every claim.
    pub fn present(&self, resolved: &Resolved, shown: &[String]) -> String {
        let within = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let wanted = |place: &str| {
            let fits = |name: &String| name == "*" || within(place, name) || within(name, place);
            shown.iter().any(fits)
        };
        let mut text = format!("{}~", self.jwt);
        for (disclosure, place) in self.disclosures.iter().zip(&resolved.places) {
            if wanted(place) {
                text.push_str(&disclosure.text);
                text.push('~');
            }
        }
        text
    }
}

impl Disclosure {
    fn read(text: &str) -> Option<Self> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok()?;
        let Value::Array(parts) = unique_json(&decoded).ok()? else {
            return None;
        };
        let (name, value) = match <[Value; 3]>::try_from(parts) {
            Ok([Value::String(_), Value::String(name), value]) => (Some(name), value),
            Ok(_) => return None,
            Err(parts) => match <[Value; 2]>::try_from(parts) {
                Ok([Value::String(_), value]) => (None, value),
                Ok(_) | Err(_) => return None,
            },
        };
        if name.as_deref().is_some_and(|name| RESERVED.contains(&name)) {
            return None;
        }
        let digest = URL_SAFE_NO_PAD.encode(Digest::of(text.as_bytes()).as_bytes());
        Some(Self {
            text: text.to_owned(),
            digest,
            name,
            value,
        })
    }
}

struct Resolver<'a> {
    sd_jwt: &'a SdJwt,
    by_digest: HashMap<&'a str, usize>,
    seen: HashSet<String>,
    places: Vec<Option<String>>,
}

impl<'a> Resolver<'a> {
    /// The disclosure of a digest, unless nobody has it; no digest may stand twice.
    fn take(&mut self, digest: &Value) -> Result<Option<(usize, &'a Disclosure)>, &'static str> {
        let digest = digest.as_str().ok_or("has a digest that is no text")?;
        if !self.seen.insert(digest.to_owned()) {
            return Err("has a digest twice");
        }
        let Some(&place) = self.by_digest.get(digest) else {
            return Ok(None);
        };
        Ok(self.sd_jwt.disclosures.get(place).map(|one| (place, one)))
    }

    fn note(&mut self, place: usize, path: &str) {
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some(path.to_owned());
        }
    }

    fn object(
        &mut self,
        members: &Members,
        path: &str,
        depth: usize,
    ) -> Result<Members, &'static str> {
        let mut out = Members::new();
        for (name, value) in members {
            if name == "..." {
                return Err("has a digest where none belongs");
            }
            if name != "_sd" {
                let value = self.value(value, &joined(path, name), depth)?;
                out.insert(name.clone(), value);
            }
        }
        let digests = match members.get("_sd") {
            None => &[],
            Some(Value::Array(digests)) => digests.as_slice(),
            Some(_) => return Err("has digests that are no list"),
        };
        for digest in digests {
            let Some((place, disclosure)) = self.take(digest)? else {
                continue;
            };
            let name = disclosure.name.as_ref();
            let name = name.ok_or("has the disclosure of an element for a claim")?;
            let path = joined(path, name);
            let value = self.value(&disclosure.value, &path, depth)?;
            self.note(place, &path);
            if out.insert(name.clone(), value).is_some() {
                return Err("discloses a claim that is there already");
            }
        }
        Ok(out)
    }

    fn value(&mut self, value: &Value, path: &str, depth: usize) -> Result<Value, &'static str> {
        let depth = depth.saturating_add(1);
        if depth > DEPTH_MAX {
            return Err("is nested too deeply");
        }
        match value {
            Value::Object(members) => Ok(Value::Object(self.object(members, path, depth)?)),
            Value::Array(elements) => {
                let mut out = Vec::with_capacity(elements.len());
                for element in elements {
                    out.extend(self.element(element, path, depth)?);
                }
                Ok(Value::Array(out))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
        }
    }

    /// An element of an array; one that is not disclosed is left out.
    fn element(
        &mut self,
        element: &Value,
        path: &str,
        depth: usize,
    ) -> Result<Option<Value>, &'static str> {
        let digest = element
            .as_object()
            .and_then(|members| members.get("...").filter(|_| members.len() == 1));
        let Some(digest) = digest else {
            return self.value(element, path, depth).map(Some);
        };
        let Some((place, disclosure)) = self.take(digest)? else {
            return Ok(None);
        };
        if disclosure.name.is_some() {
            return Err("has the disclosure of a claim for an element");
        }
        self.note(place, path);
        self.value(&disclosure.value, path, depth).map(Some)
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::members;

    const FAMILY: &str = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0";
    const FRANCE: &str = "WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0";

    fn disclosure(value: &Value) -> (String, String) {
        let text = URL_SAFE_NO_PAD.encode(value.to_string());
        let digest = Disclosure::read(&text).unwrap().digest;
        (text, digest)
    }

    #[test]
    fn digests_are_those_of_the_published_examples() {
        // proves RFC 9901 sections 4.2.3 and 4.2.4.2
        let one = Disclosure::read(FAMILY).unwrap();
        assert_eq!(one.digest, "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0");
        assert_eq!(
            (one.name.as_deref(), &one.value),
            (Some("family_name"), &json!("M\u{f6}bius"))
        );
        let one = Disclosure::read(FRANCE).unwrap();
        assert_eq!(one.digest, "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs");
        assert_eq!((one.name, one.value), (None, json!("FR")));
    }

    #[test]
    fn claims_are_put_where_their_digests_stand_and_shown_only_when_asked_for() {
        let (city, city_digest) = disclosure(&json!(["s1", "city", "Here"]));
        let (street, street_digest) = disclosure(&json!(["s2", "street", "There"]));
        let address =
            json!(["s3", "address", { "_sd": [city_digest, street_digest, "nobody-has-this"] }]);
        let (address, address_digest) = disclosure(&address);
        let sd_jwt = SdJwt::read(&format!("a.b.c~{address}~{city}~{street}~{FRANCE}~")).unwrap();
        let claims = members(json!({
            "iss": "me", "_sd": [address_digest], "_sd_alg": "sha-256",
            "from": ["DE", { "...": "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs" }, { "...": "nobody" }],
        }));
        let resolved = sd_jwt.resolve(&claims).unwrap();
        assert_eq!(
            Value::Object(resolved.claims.clone()),
            json!({ "iss": "me", "from": ["DE", "FR"], "address": { "city": "Here", "street": "There" } })
        );
        let shown = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            sd_jwt.present(&resolved, &names)
        };
        assert_eq!(shown(&[]), "a.b.c~");
        assert_eq!(shown(&["address.city"]), format!("a.b.c~{address}~{city}~"));
        assert_eq!(
            shown(&["address"]),
            format!("a.b.c~{address}~{city}~{street}~")
        );
        assert_eq!(shown(&["from", "addr"]), format!("a.b.c~{FRANCE}~"));
        assert_eq!(
            shown(&["*"]),
            format!("a.b.c~{address}~{city}~{street}~{FRANCE}~")
        );
    }

    #[track_caller]
    fn refused(disclosures: &[&str], claims: Value) {
        let rest: String = disclosures.iter().map(|one| format!("{one}~")).collect();
        let text = format!("a.b.c~{rest}");
        let sd_jwt = SdJwt::read(&text).unwrap();
        assert!(sd_jwt.resolve(&members(claims)).is_err());
    }

    #[test]
    fn odd_disclosures_are_refused() {
        let (name, digest) = disclosure(&json!(["s", "name", 1]));
        let (other, other_digest) = disclosure(&json!(["t", "name", 2]));
        refused(&[&name], json!({}));
        refused(&[&name], json!({ "_sd": [digest, digest] }));
        refused(&[&name], json!({ "_sd": [digest], "name": 3 }));
        refused(&[&name, &other], json!({ "_sd": [digest, other_digest] }));
        refused(&[&name, &name], json!({ "_sd": [digest] }));
        refused(&[&name], json!({ "_sd": [digest], "_sd_alg": "md5" }));
        refused(&[&name], json!({ "from": [{ "...": digest }] }));
        refused(
            &[FRANCE],
            json!({ "_sd": ["w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs"] }),
        );
        refused(&[], json!({ "...": "x" }));
        refused(&[], json!({ "_sd": "x" }));
        refused(&[], json!({ "_sd": [1] }));
        for wrong in ["", "a.b.c", "a.b.c~proof", "a.b.c~!~", "a.b.c~e30~"] {
            assert!(SdJwt::read(wrong).is_err(), "{wrong}");
        }
        for value in [
            json!(["s", "_sd", 1]),
            json!(["s", "...", 1]),
            json!([1, "name", 1]),
            json!(["s"]),
            json!({}),
        ] {
            let text = URL_SAFE_NO_PAD.encode(value.to_string());
            assert!(Disclosure::read(&text).is_none(), "{value}");
        }
    }
}
