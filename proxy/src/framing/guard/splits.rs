//! However the bytes of a connection are cut into reads, the same passes and the same is refused.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Guard,
    tests::{GET, OK, POST, refuse},
};

/// A client whose bytes come in given pieces, then end; what is written to it is kept.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    written: Vec<u8>,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Everything that passes, everything written to the client, and how it ended.
type Story = (String, String, Result<(), String>);

/// Reads it all in portions of `portion`, answering whenever the guard waits for a response.
fn story(pieces: Vec<Vec<u8>>, portion: usize) -> Story {
    let client = Pieces {
        pieces: pieces.into(),
        written: Vec::new(),
    };
    let mut guard = Guard::new(client, BytesMut::new(), refuse().0);
    let mut cx = Context::from_waker(Waker::noop());
    let mut passed = Vec::new();
    let mut room = vec![0; portion];
    let end = loop {
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Pending => {
                assert!(
                    Pin::new(&mut guard)
                        .poll_write(&mut cx, OK.as_bytes())
                        .is_ready()
                );
            }
            Poll::Ready(Err(error)) => break Err(error.to_string()),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => break Ok(()),
            Poll::Ready(Ok(())) => passed.extend_from_slice(buf.filled()),
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&passed), text(&guard.inner().written), end)
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(GET.as_bytes().to_vec()),
        4 => Just(POST.as_bytes().to_vec()),
        2 => Just(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / H".to_vec()),
        2 => Just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nT: u\r\n\r\n".to_vec()),
        1 => Just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn split(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts
        .iter()
        .map(|cut| cut.index(bytes.len() + 1))
        .chain([0, bytes.len()])
        .collect();
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .filter(|piece| !piece.is_empty())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_story(
        messages in prop::collection::vec(message(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        portion in 1_usize..300,
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = messages.concat();
        if let Some((at, byte)) = flip && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = story(vec![bytes.clone()], 1 << 16);
        let one_by_one = bytes.iter().map(|byte| vec![*byte]).collect();
        // Where the answers fall between the parts of a body depends on the reads; what passes and what is refused do not.
        let strip = |story: Story| (story.0, story.1.replace(OK, ""), story.2);
        let whole = strip(whole);
        prop_assert_eq!(&strip(story(split(&bytes, &cuts), portion)), &whole);
        prop_assert_eq!(&strip(story(one_by_one, 4096)), &whole);
    }
}
