//! Lines with file descriptors beside them (`SCM_RIGHTS`), on unix stream sockets.

use std::{
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;

/// Most descriptors that one request carries.
pub(crate) const DESCRIPTORS_MAX: usize = 32;
/// Longest request line, in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Sends bytes, such as a line, with the descriptors beside the first one.
pub(crate) fn send(
    stream: &UnixStream,
    line: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space =
        [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one request"));
    }
    let sent = sendmsg(
        stream,
        &[IoSlice::new(line)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = stream;
    stream.write_all(line.get(sent..).unwrap_or_default())
}

/// Receives one line, without its end, and the descriptors beside it.
pub(super) async fn receive(
    stream: &tokio::net::UnixStream,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut line = Vec::new();
    let mut descriptors = Vec::new();
    loop {
        let mut chunk = [0_u8; 4096];
        let read = stream
            .async_io(Interest::READABLE, || {
                receive_some(stream, &mut chunk, &mut descriptors)
            })
            .await?;
        line.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok((line, descriptors));
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other("the request is too long"));
        }
    }
}

fn receive_some(
    stream: &tokio::net::UnixStream,
    chunk: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space =
        [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(chunk)];
    let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = part {
            descriptors.extend(more);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::other("too many descriptors for one request"));
    }
    Ok(message.bytes)
}
