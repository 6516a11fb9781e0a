//! The way into a token of a PKCS#11 device. It never tries a PIN twice that was wrong, since devices lock themselves.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::{
    context::Pkcs11,
    error::{Error as Failure, RvError},
    object::{Attribute, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::RawAuthPin,
};
use exeat_types::Secret;

use super::{
    Pkcs11Token,
    modules::{Module, RefusedPins, Tied},
};
use crate::{Devices, Error};

/// What a session may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The way into a token.
pub(crate) struct Door {
    name: String,
    token: Pkcs11Token,
    pin: Option<Secret>,
    module: Arc<Module>,
    /// The PINs that the device said are wrong, whoever tried them. None is tried again.
    refused: Arc<Mutex<RefusedPins>>,
}

impl Door {
    pub(crate) fn new(
        name: &str,
        token: &Pkcs11Token,
        pin: Option<&Secret>,
        devices: &Devices,
    ) -> Self {
        let module = devices.modules.module(&token.module);
        Self {
            name: name.to_owned(),
            token: token.clone(),
            pin: pin.map(Secret::duplicate),
            refused: module.refused(&token.token),
            module,
        }
    }

    /// A session in which the user is logged in.
    pub(crate) fn enter(&self, access: Access) -> Result<Tied, Error> {
        let opened = Tied::open(&self.module, |device| {
            let slot = self.slot(device)?;
            let session = match access {
                Access::Read => device.open_ro_session(slot),
                Access::Write => device.open_rw_session(slot),
            };
            let session = session.map_err(|e| self.failed(&e))?;
            self.log_in(&session)?;
            Ok(session)
        });
        opened.map_err(|e| self.failed(&e))?
    }

    /// Begins the library anew, as a device that was gone may be seen only then.
    pub(crate) fn begin_anew(&self) -> Result<(), Error> {
        self.module.end().map_err(|e| self.failed(&e))
    }

    #[expect(clippy::disallowed_methods, reason = "the device is given its PIN")]
    fn log_in(&self, session: &Session) -> Result<(), Error> {
        // Others who have the same PIN wait: it may be wrong, and devices count.
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &Option<Secret>| match (one, &self.pin) {
            (Some(one), Some(pin)) => one.matches(pin.open()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if refused.iter().any(same) {
            return Err(self.wrong_pin());
        }
        let entered = match &self.pin {
            Some(pin) => session.login_with_raw(
                UserType::User,
                &RawAuthPin::new(Box::new(pin.open().to_vec())),
            ),
            None => session.login(UserType::User, None),
        };
        match entered {
            // The library keeps one login for the whole process; whoever came first has logged in.
            Ok(()) | Err(Failure::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Failure::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinLocked
                | RvError::PinExpired
                | RvError::PinLenRange
                | RvError::PinInvalid,
                _,
            )) => {
                refused.push(self.pin.as_ref().map(Secret::duplicate));
                Err(self.wrong_pin())
            }
            Err(problem) => Err(self.failed(&problem)),
        }
    }

    /// The one slot with a token of this label.
    fn slot(&self, device: &Pkcs11) -> Result<Slot, Error> {
        let mut found = None;
        for slot in device.get_slots_with_token().map_err(|e| self.failed(&e))? {
            let Ok(token) = device.get_token_info(slot) else {
                continue;
            };
            if token.label().trim_end() == self.token.token && found.replace(slot).is_some() {
                return Err(self.refused(format!(
                    "has several tokens `{}` to choose from",
                    self.token.token
                )));
            }
        }
        found.ok_or_else(|| {
            self.refused(format!("has no token `{}` in its device", self.token.token))
        })
    }

    /// A failure of the device, in the words of the signer.
    pub(crate) fn failed(&self, problem: &Failure) -> Error {
        self.refused(format!("is in a device that failed: {problem}"))
    }

    /// What is wrong with what was found.
    pub(crate) fn refused(&self, problem: String) -> Error {
        Error::Signer {
            name: self.name.clone(),
            problem,
        }
    }

    fn wrong_pin(&self) -> Error {
        Error::WrongPin {
            name: self.name.clone(),
        }
    }
}

/// The one object of this class and label.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn only(
    door: &Door,
    session: &Session,
    class: ObjectClass,
    label: &str,
) -> Result<ObjectHandle, Error> {
    let wanted = [Attribute::Class(class), Attribute::Label(label.into())];
    let found = session.find_objects(&wanted).map_err(|e| door.failed(&e))?;
    let what = match class {
        ObjectClass::PUBLIC_KEY => "public key",
        _ => "key",
    };
    match *found {
        [one] => Ok(one),
        [] => Err(door.refused(format!("has no {what} `{label}` in its token"))),
        _ => Err(door.refused(format!("has several keys `{label}` in its token"))),
    }
}
