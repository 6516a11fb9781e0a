//! The control socket between the stages: lists of byte strings, with file descriptors beside them.
//!
//! What arrives is bounded and checked, as stage two shares its process namespace with the command.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::error::{Error, system};

/// Largest message: environment, arguments and trust bundles fit many times.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most descriptors with one message.
const DESCRIPTORS_MAX: usize = 16;

/// A list of byte strings.
pub(crate) type Message = Vec<Vec<u8>>;

/// One end of a control socket.
pub(crate) struct Channel(UnixStream);

impl Channel {
    /// A connected pair: one end to keep, one to hand to the next stage as its standard input.
    pub(crate) fn pair() -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) = UnixStream::pair().map_err(system("make a socket pair"))?;
        Ok((Self(ours), theirs.into()))
    }

    /// The end that a stage got as its standard input.
    pub(crate) fn from_stdin() -> Result<Self, Error> {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        Ok(Self(
            stdin.map_err(system("take the control socket"))?.into(),
        ))
    }

    /// The socket, for single bytes between and after the messages.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// The socket, for what follows the messages.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.0
    }

    /// Bounds each wait for the other end.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.0
            .set_read_timeout(timeout)
            .map_err(system("bound the wait for the sandbox"))
    }

    /// Sends a list, and descriptors with it.
    pub(crate) fn send<T: AsRef<[u8]>>(
        &self,
        parts: &[T],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let failed = |error| broken("write to the control socket", error);
        let mut body = Vec::new();
        for part in parts {
            body.extend(length(part.as_ref().len())?);
            body.extend(part.as_ref());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Error::Protocol);
        }
        // The descriptors travel with the first byte; the rest may take several writes.
        let header = length(body.len())?;
        let head = [IoSlice::new(&header)];
        let sent = sendmsg(&self.0, &head, &mut control, SendFlags::NOSIGNAL);
        let sent = sent.map_err(|error| failed(error.into()))?;
        let rest = header.get(sent..).ok_or(Error::Protocol)?;
        (&self.0)
            .write_all(rest)
            .and_then(|()| (&self.0).write_all(&body))
            .map_err(failed)
    }

    /// Receives a list and the descriptors that came with it.
    pub(crate) fn receive(&self) -> Result<(Message, Vec<OwnedFd>), Error> {
        let failed = |error| broken("read the control socket", error);
        let (mut header, mut descriptors) = ([0u8; 4], Vec::new());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = {
            let mut head = [IoSliceMut::new(&mut header)];
            recvmsg(&self.0, &mut head, &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(|error| failed(error.into()))?
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(Error::Gone);
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(Error::Protocol);
        }
        let rest = header.get_mut(received.bytes..).ok_or(Error::Protocol)?;
        (&self.0).read_exact(rest).map_err(failed)?;
        let size = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if size > MESSAGE_BYTES_MAX {
            return Err(Error::Protocol);
        }
        let mut body = vec![0u8; size];
        (&self.0).read_exact(&mut body).map_err(failed)?;
        Ok((parse(&body)?, descriptors))
    }
}

/// The end of the other stage is told from every other failure.
fn broken(action: &'static str, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            Error::Gone
        }
        _ => system(action)(error),
    }
}

fn length(bytes: usize) -> Result<[u8; 4], Error> {
    let length = u32::try_from(bytes).map_err(|_too_long| Error::Protocol)?;
    Ok(length.to_le_bytes())
}

fn parse(mut body: &[u8]) -> Result<Message, Error> {
    let mut parts = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>().ok_or(Error::Protocol)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at_checked(length).ok_or(Error::Protocol)?;
        parts.push(part.to_vec());
        body = rest;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_descriptors_arrive_together_and_in_order() {
        let (left, right) = Channel::pair().unwrap();
        let right = Channel(right.into());
        let (extra, peer) = UnixStream::pair().unwrap();
        let big = vec![7u8; 3_000_000];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                left.send(&["one", "", "three"], &[extra.as_fd(), extra.as_fd()])
                    .unwrap();
                left.send::<&[u8]>(&[], &[]).unwrap();
                left.send(&[&big], &[]).unwrap();
            });
            let (list, mut descriptors) = right.receive().unwrap();
            assert_eq!(list, [b"one".to_vec(), vec![], b"three".to_vec()]);
            assert_eq!(descriptors.len(), 2);
            let mut stream = UnixStream::from(descriptors.remove(0));
            stream.write_all(b"x").unwrap();
            assert_eq!(right.receive().unwrap().0, Message::new());
            assert_eq!(right.receive().unwrap().0.concat(), big);
        });
        let mut byte = [0];
        (&peer).read_exact(&mut byte).unwrap();
        drop(left);
        assert!(matches!(right.receive(), Err(Error::Gone)));
    }

    #[test]
    fn a_malformed_body_is_refused() {
        for body in [
            &[1, 0, 0][..],
            &[1, 0, 0, 0],
            &[255, 255, 255, 255, 1],
            &[0, 0, 0, 0, 9],
        ] {
            assert!(matches!(parse(body), Err(Error::Protocol)), "{body:?}");
        }
        assert_eq!(
            parse(&[0, 0, 0, 0, 1, 0, 0, 0, 9]).unwrap(),
            [vec![], vec![9]]
        );
    }
}
