//! Errors in Pingora's terms, and what they mean to the agent: one reason each.

use exeat_types::{Fault, Reason};
use pingora::{Error, ErrorSource, ErrorType};

/// An error that has Pingora begin again.
pub(crate) fn once_more() -> Box<Error> {
    let mut error = Error::explain(ErrorType::Custom("once-more"), "sent once more");
    error.set_retry(true);
    error
}

/// An error that carries nothing but our reason.
pub(crate) fn stop(reason: Reason) -> Box<Error> {
    let mut error = Error::explain(ErrorType::Custom(reason.code()), "refused");
    error.set_retry(false);
    error
}

/// What a Pingora error means to the agent.
pub(crate) fn reason_of(error: &Error) -> Reason {
    use pingora::ErrorType as Kind;
    let late = matches!(
        error.etype(),
        Kind::ConnectTimedout
            | Kind::TLSHandshakeTimedout
            | Kind::ReadTimedout
            | Kind::WriteTimedout
    );
    let unreachable = matches!(
        error.etype(),
        Kind::ConnectRefused
            | Kind::ConnectNoRoute
            | Kind::ConnectError
            | Kind::SocketError
            | Kind::ConnectProxyFailure
            | Kind::TLSHandshakeFailure
            | Kind::InvalidCert
            | Kind::HandshakeError
            | Kind::TLSWantX509Lookup
    );
    match error.etype() {
        Kind::Custom(code) => Reason::from_code(code).unwrap_or(Reason::Internal),
        _ if late => Reason::UpstreamTimeout,
        _ if unreachable => Reason::UpstreamUnreachable,
        _ => match error.esource() {
            ErrorSource::Upstream => Reason::UpstreamBroken,
            ErrorSource::Downstream => Reason::MalformedRequest,
            ErrorSource::Internal | ErrorSource::Unset => Reason::Internal,
        },
    }
}

/// The same for a call that broke off on a lane of our own, with the side that failed.
pub(crate) fn broke_off(reason: Reason) -> Box<Error> {
    let mut error = stop(reason);
    if matches!(reason.fault(), Fault::Upstream) {
        error.as_up();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &Error, expect: Reason) {
        assert_eq!(reason_of(error), expect, "{error}");
    }

    #[test]
    fn p11_every_failure_has_a_reason() {
        for kind in [
            ErrorType::ConnectTimedout,
            ErrorType::TLSHandshakeTimedout,
            ErrorType::ReadTimedout,
            ErrorType::WriteTimedout,
        ] {
            check(&Error::new_up(kind), Reason::UpstreamTimeout);
        }
        for kind in [
            ErrorType::ConnectRefused,
            ErrorType::ConnectNoRoute,
            ErrorType::InvalidCert,
            ErrorType::TLSHandshakeFailure,
        ] {
            check(&Error::new_up(kind), Reason::UpstreamUnreachable);
        }
        check(&Error::new_up(ErrorType::H2Error), Reason::UpstreamBroken);
        check(
            &Error::new_down(ErrorType::ReadError),
            Reason::MalformedRequest,
        );
        check(&Error::new_in(ErrorType::InternalError), Reason::Internal);
        check(&stop(Reason::ResponseUnsafe), Reason::ResponseUnsafe);
        assert!(!stop(Reason::ResponseUnsafe).retry());
        assert_eq!(Reason::UpstreamTimeout.status(), 504);
    }
}
