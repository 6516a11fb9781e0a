//! The socket between the two processes: a length, a word in JSON, and descriptors beside it. It blocks.

use std::{
    io::{self, IoSliceMut, Read as _},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::word::Word;
use crate::socket::rights::{self, DESCRIPTORS_MAX};

/// Longest word.
const WORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

impl Channel {
    /// A connected pair: one end to keep, one to be the standard input of the new program.
    ///
    /// # Errors
    /// When no socket is to be had.
    pub(crate) fn pair() -> anyhow::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        Ok((Self(ours), theirs.into()))
    }

    /// The end that this process was given as its standard input, which is nothing from here on.
    ///
    /// # Errors
    /// When standard input is no socket.
    pub(crate) fn from_stdin() -> anyhow::Result<Self> {
        let given = io::stdin().as_fd().try_clone_to_owned();
        let stream = UnixStream::from(given.context("cannot take the socket")?);
        if stream.peer_addr().is_err() {
            bail!("`--upgrade` is for a gate that replaces itself; `exeat upgrade` asks it to");
        }
        let nothing = std::fs::File::open("/dev/null").context("cannot open `/dev/null`")?;
        rustix::stdio::dup2_stdin(&nothing).context("cannot let go of the socket")?;
        Ok(Self(stream))
    }

    /// Another handle on the same end.
    ///
    /// # Errors
    /// When no descriptor is to be had.
    pub(crate) fn again(&self) -> anyhow::Result<Self> {
        Ok(Self(self.0.try_clone().context("cannot copy the socket")?))
    }

    /// Bounds each wait for the other side; none means for ever.
    ///
    /// # Errors
    /// When the socket does not take it.
    pub(crate) fn patience(&self, most: Option<Duration>) -> anyhow::Result<()> {
        self.0
            .set_read_timeout(most)
            .and_then(|()| self.0.set_write_timeout(most))
            .context("cannot bound the wait for the other gate")
    }

    /// Says a word, with descriptors beside it.
    ///
    /// # Errors
    /// When the other side is gone.
    pub(crate) fn say(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        let body = serde_json::to_vec(word).context("cannot write a word")?;
        let length = u32::try_from(body.len()).context("a word is too long")?;
        let bytes = [&length.to_le_bytes()[..], &body].concat();
        rights::send(&self.0, &bytes, descriptors).context("the other gate went away")
    }

    /// Hears a word and what comes beside it; nothing when the other side has ended.
    ///
    /// # Errors
    /// When it does not come in time, or cannot be understood.
    pub(crate) fn hear(&self) -> anyhow::Result<Option<(Word, Vec<OwnedFd>)>> {
        let (mut header, mut descriptors) = ([0_u8; 4], Vec::new());
        let got = receive(&self.0, &mut header, &mut descriptors);
        let got = got.context("the other gate did not answer")?;
        if got == 0 {
            return Ok(None);
        }
        let mut stream = &self.0;
        let rest = header.get_mut(got..).unwrap_or_default();
        stream
            .read_exact(rest)
            .context("the other gate broke off")?;
        let size = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
        if size > WORD_BYTES_MAX {
            bail!("the other gate says something too long");
        }
        let mut body = vec![0_u8; size];
        stream
            .read_exact(&mut body)
            .context("the other gate broke off")?;
        let word = serde_json::from_slice(&body)
            .context("the other gate says something that this one does not know")?;
        Ok(Some((word, descriptors)))
    }

    /// Ends the conversation, also for whoever is listening at this end.
    pub(crate) fn close(&self) {
        if let Err(error) = self.0.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the other gate was gone already");
        }
    }
}

fn receive(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space =
        [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(bytes)];
    let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = part {
            descriptors.extend(more);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("too many descriptors beside one word"));
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_in_order_with_what_lies_beside_them() {
        let (left, right) = Channel::pair().unwrap();
        let right = Channel(right.into());
        let socket = |name: &str| Word::Socket {
            name: name.to_owned(),
        };
        left.say(&socket("one"), &[left.0.as_fd()]).unwrap();
        left.say(&Word::Go {}, &[]).unwrap();
        left.say(&socket("two"), &[left.0.as_fd(), left.0.as_fd()])
            .unwrap();
        let (word, beside) = right.hear().unwrap().unwrap();
        assert_eq!((word, beside.len()), (socket("one"), 1));
        assert_eq!(right.hear().unwrap().unwrap().0, Word::Go {});
        assert_eq!(right.hear().unwrap().unwrap().1.len(), 2);
        right.patience(Some(Duration::from_millis(1))).unwrap();
        assert!(right.hear().is_err(), "nothing was said");
        left.close();
        assert!(right.hear().unwrap().is_none());
    }

    #[test]
    fn noise_is_not_a_word() {
        for noise in [&b"\xff\xff\xff\xff{}"[..], b"\x02\0\0\0{}", b"\x05\0\0\0{}"] {
            let (mut left, right) = UnixStream::pair().unwrap();
            io::Write::write_all(&mut left, noise).unwrap();
            drop(left);
            assert!(Channel(right).hear().is_err(), "{noise:?}");
        }
    }
}
