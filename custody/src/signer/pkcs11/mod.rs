//! Keys in a PKCS#11 device (OASIS PKCS #11 v3.0): a smart card, an HSM, or a program that plays one.
//!
//! Owns finding the one key of a label, and the promise that it can never leave: a key that the device would hand out is
//! refused. `door.rs` is the way into a token, `modules.rs` keeps the devices' libraries.

pub(crate) mod door;
pub(crate) mod modules;

use std::{fmt, path::PathBuf, sync::Arc};

use cryptoki::{
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use exeat_types::{Algorithm, DeviceFailure, Signer};
use ring::digest::{SHA256, digest};

use super::{
    NewKey, Opening, SignerKind,
    device::{Connect, Connection, DeviceSigner},
    encoding::{P256_NAME, SHA256_DIGEST_INFO, element, rsa_public_key},
};
use crate::{Error, SecretRef, placeholder::hex};
use door::{Access, Door, only};
use modules::Tied;

/// How many signatures one key makes at a time.
const SESSIONS: usize = 4;
const OCTET_STRING: u8 = 0x04;
/// The names of the curve of Ed25519 that devices use: the printable one of PKCS #11, and the object identifier.
const EDWARDS25519: &[u8] = &[
    0x13, 0x0c, b'e', b'd', b'w', b'a', b'r', b'd', b's', b'2', b'5', b'5', b'1', b'9',
];
const ED25519_NAME: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const RSA_BITS: u64 = 3072;

/// A token in a device: where its library is and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Token {
    /// The device's library.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// Where the PIN lies; devices with a keypad of their own need none.
    pub pin: Option<SecretRef>,
}

/// A key in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Key {
    /// The token.
    pub token: Pkcs11Token,
    /// The label of the key.
    pub key: String,
}

impl SignerKind for Pkcs11Key {
    fn word(&self) -> &'static str {
        "pkcs11"
    }

    fn secrets(&self) -> Vec<&SecretRef> {
        self.token.pin.iter().collect()
    }

    fn open(&self, with: &Opening<'_>) -> Result<Arc<dyn Signer>, Error> {
        let door = Door::new(with.name, &self.token, with.secrets.first(), with.devices);
        let label = self.key.clone();
        let connect = move || -> Result<Box<dyn Connection>, Error> {
            let held = match Held::find(&door, &label) {
                Err(shut @ Error::WrongPin { .. }) => return Err(shut),
                Err(_gone) => {
                    door.begin_anew()?;
                    Held::find(&door, &label)?
                }
                Ok(held) => held,
            };
            Ok(Box::new(held))
        };
        let connect: Arc<Connect> = Arc::new(connect);
        Ok(Arc::new(DeviceSigner::open(with.name, SESSIONS, &connect)?))
    }

    fn create(&self, with: &Opening<'_>, algorithm: Algorithm) -> Result<NewKey, Error> {
        let door = Door::new(with.name, &self.token, with.secrets.first(), with.devices);
        let session = door.enter(Access::Write)?;
        let made = session.call(|session| self.generate(session, &door, algorithm));
        made.map_err(|e| door.failed(&e))??;
        drop(session);
        Ok(NewKey {
            signer: self.open(with)?,
            keep: None,
        })
    }
}

impl Pkcs11Key {
    fn generate(&self, session: &Session, door: &Door, algorithm: Algorithm) -> Result<(), Error> {
        let there = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(self.key.clone().into()),
        ];
        let there = session.find_objects(&there).map_err(|e| door.failed(&e))?;
        if !there.is_empty() {
            return Err(door.refused(format!("has a key `{}` already", self.key)));
        }
        let (mechanism, mut public) = match algorithm {
            Algorithm::Es256 => (
                Mechanism::EccKeyPairGen,
                vec![Attribute::EcParams(P256_NAME.to_vec())],
            ),
            Algorithm::EdDsa => (
                Mechanism::EccEdwardsKeyPairGen,
                vec![Attribute::EcParams(EDWARDS25519.to_vec())],
            ),
            Algorithm::Rs256 => (
                Mechanism::RsaPkcsKeyPairGen,
                vec![
                    Attribute::ModulusBits(RSA_BITS.into()),
                    Attribute::PublicExponent(vec![1, 0, 1]),
                ],
            ),
        };
        let id = exeat_types::random_bytes::<8>()?.to_vec();
        let both = [
            Attribute::Token(true),
            Attribute::Label(self.key.clone().into()),
            Attribute::Id(id),
        ];
        public.extend([Attribute::Private(false), Attribute::Verify(true)]);
        public.extend(both.clone());
        let mut private = vec![
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        private.extend(both);
        let made = session.generate_key_pair(&mechanism, &public, &private);
        made.map(drop).map_err(|e| door.failed(&e))
    }
}

/// A key in a device, with the session in which it signs.
struct Held {
    session: Tied,
    key: ObjectHandle,
    algorithm: Algorithm,
    public_key: Vec<u8>,
}

impl Held {
    fn find(door: &Door, label: &str) -> Result<Self, Error> {
        let session = door.enter(Access::Read)?;
        let found = session.call(|session| {
            let key = only(door, session, ObjectClass::PRIVATE_KEY, label)?;
            let (algorithm, public_key) = public_half(door, session, key, label)?;
            Ok::<_, Error>((key, algorithm, public_key))
        });
        let (key, algorithm, public_key) = found.map_err(|e| door.failed(&e))??;
        Ok(Self {
            session,
            key,
            algorithm,
            public_key,
        })
    }
}

/// The public half of a key that can sign and stays in its place.
fn public_half(
    door: &Door,
    session: &Session,
    key: ObjectHandle,
    label: &str,
) -> Result<(Algorithm, Vec<u8>), Error> {
    let asked = [
        AttributeType::KeyType,
        AttributeType::Extractable,
        AttributeType::Sensitive,
        AttributeType::Sign,
        AttributeType::AlwaysAuthenticate,
    ];
    let found = session.get_attributes(key, &asked);
    let found = found.map_err(|e| door.failed(&e))?;
    let has = |wanted| found.contains(&wanted);
    // SECURITY: a key that can be copied is not a key that stays in its place. The device must say that it cannot.
    let problem = if !has(Attribute::Extractable(false)) || !has(Attribute::Sensitive(true)) {
        "has a key that can be copied out of the device"
    } else if !has(Attribute::Sign(true)) {
        "has a key that may not sign"
    } else if has(Attribute::AlwaysAuthenticate(true)) {
        "has a key that wants its PIN for every signature, which an unattended gate cannot give"
    } else {
        let public = only(door, session, ObjectClass::PUBLIC_KEY, label)?;
        let read = if has(Attribute::KeyType(KeyType::RSA)) {
            rsa_key(door, session, public)?
        } else {
            curve_key(door, session, public)?
        };
        match read {
            Some(read) => return Ok(read),
            None => "has a key that is neither P-256, Ed25519 nor RSA",
        }
    };
    Err(door.refused(problem.to_owned()))
}

/// The public half of a key on one of the two curves.
fn curve_key(
    door: &Door,
    session: &Session,
    key: ObjectHandle,
) -> Result<Option<(Algorithm, Vec<u8>)>, Error> {
    let asked = [AttributeType::EcParams, AttributeType::EcPoint];
    let found = session
        .get_attributes(key, &asked)
        .map_err(|e| door.failed(&e))?;
    let [Attribute::EcParams(curve), Attribute::EcPoint(point)] = &*found else {
        return Ok(None);
    };
    let algorithm = match &**curve {
        P256_NAME => Algorithm::Es256,
        EDWARDS25519 | ED25519_NAME => Algorithm::EdDsa,
        _ => return Ok(None),
    };
    // The point is the content of an OCTET STRING; some devices leave that off.
    let point = match element(point, OCTET_STRING) {
        Some((inner, [])) => inner,
        _ => point,
    };
    Ok(Some((algorithm, point.to_vec())))
}

fn rsa_key(
    door: &Door,
    session: &Session,
    key: ObjectHandle,
) -> Result<Option<(Algorithm, Vec<u8>)>, Error> {
    let asked = [AttributeType::Modulus, AttributeType::PublicExponent];
    let found = session
        .get_attributes(key, &asked)
        .map_err(|e| door.failed(&e))?;
    let [
        Attribute::Modulus(modulus),
        Attribute::PublicExponent(exponent),
    ] = &*found
    else {
        return Ok(None);
    };
    Ok(Some((Algorithm::Rs256, rsa_public_key(modulus, exponent))))
}

impl Connection for Held {
    fn public_key(&self) -> (Algorithm, &[u8]) {
        (self.algorithm, &self.public_key)
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, DeviceFailure> {
        let signed = self.session.call(|session| match self.algorithm {
            // The digest is made here, since few devices hash.
            Algorithm::Es256 => session.sign(
                &Mechanism::Ecdsa,
                self.key,
                digest(&SHA256, message).as_ref(),
            ),
            Algorithm::EdDsa => {
                let pure = EddsaParams::new(EddsaSignatureScheme::Pure);
                session.sign(&Mechanism::Eddsa(pure), self.key, message)
            }
            Algorithm::Rs256 => {
                let digest_info = [SHA256_DIGEST_INFO, digest(&SHA256, message).as_ref()].concat();
                session.sign(&Mechanism::RsaPkcs, self.key, &digest_info)
            }
        });
        let refused = |_told_when_opened| DeviceFailure("the device refused to sign");
        signed.map_err(refused)?.map_err(refused)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("public_key", &hex(&self.public_key))
            .finish_non_exhaustive()
    }
}
