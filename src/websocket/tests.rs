//! Frames against another implementation, frames by hand, and streams under every kind of
//! network.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tungstenite::protocol::frame::{
    Frame, FrameHeader,
    coding::{Control as ControlCode, Data, OpCode},
};

use super::{
    Violation, WebSocket,
    decoder::{Control, Decoder},
    frame::{Opcode, encode, unmask},
};

/// A client's frame as bytes.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut masked = payload.to_vec();
    unmask(&mut [1, 2, 3, 4], &mut masked);
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend([1, 2, 3, 4]);
    bytes.extend(masked);
    bytes
}

/// What the decoder makes of bytes that come in parts of these sizes, the last one over and over.
fn decode(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<Control>, Result<(), Violation>) {
    let (mut decoder, mut data, mut controls) = (Decoder::default(), Vec::new(), Vec::new());
    let mut sizes = sizes.iter().copied().chain(std::iter::repeat(*sizes.last().unwrap()));
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        rest = later;
        let mut part = part.to_vec();
        let (kept, decoded) = decoder.decode(&mut part, |control| controls.push(control));
        data.extend_from_slice(&part[..kept]);
        if decoded.is_err() || matches!(controls.last(), Some(Control::Close(_))) {
            return (data, controls, decoded);
        }
    }
    (data, controls, Ok(()))
}

#[test]
fn packets_may_share_a_frame_or_span_many() {
    let mut bytes = client_frame(0x82, b"two packets");
    bytes.extend(client_frame(0x02, b"one "));
    bytes.extend(client_frame(0x89, b"ping"));
    bytes.extend(client_frame(0x00, b""));
    bytes.extend(client_frame(0x8a, b"pong that nobody asked for"));
    bytes.extend(client_frame(0x80, &[b'x'; 300]));
    bytes.extend(client_frame(0x88, b"\x03\xe8bye"));
    bytes.extend(client_frame(0x82, b"too late"));
    for sizes in [&[1][..], &[2], &[7], &[1000]] {
        let (data, controls, decoded) = decode(&bytes, sizes);
        assert_eq!(decoded, Ok(()));
        assert_eq!(data, [&b"two packetsone "[..], &[b'x'; 300]].concat());
        assert_eq!(controls, [Control::Ping(b"ping".into()), Control::Close(b"\x03\xe8bye".into())]);
    }
}

#[test]
fn violations_are_told_apart() {
    let unmasked = b"\x82\x01x".to_vec();
    for (bytes, violation) in [
        (client_frame(0x81, b"text"), Violation::Text),
        (client_frame(0x01, b"text"), Violation::Text),
        (unmasked, Violation::Unmasked),
        (client_frame(0xc2, b""), Violation::Reserved),
        (client_frame(0x92, b""), Violation::Reserved),
        (client_frame(0x83, b""), Violation::Reserved),
        (client_frame(0x8b, b""), Violation::Reserved),
        (client_frame(0x09, b""), Violation::Control),
        (client_frame(0x89, &[0; 126]), Violation::Control),
        (client_frame(0x80, b""), Violation::Fragments),
        ([client_frame(0x02, b"a"), client_frame(0x82, b"b")].concat(), Violation::Fragments),
        (client_frame(0x88, b"\x03"), Violation::CloseCode),
        (client_frame(0x88, b"\x03\xed"), Violation::CloseCode),
        (b"\x82\xfe\0\x05\0\0\0\0".to_vec(), Violation::Length),
        (b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(), Violation::Length),
        (b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0".to_vec(), Violation::Length),
    ] {
        let before = [client_frame(0x82, b"before"), bytes].concat();
        for sizes in [&[1][..], &[1000]] {
            let (data, _, decoded) = decode(&before, sizes);
            assert_eq!(decoded, Err(violation), "{before:02x?}");
            assert!(data.starts_with(b"before"));
        }
    }
}

/// A frame as `tungstenite` means it: a part of a binary message, or a control frame in between.
#[derive(Clone, Debug)]
enum Part {
    Data { payload: Vec<u8>, ends: bool },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let control = || prop::collection::vec(any::<u8>(), 0..=125);
    let size = prop_oneof![0..300_usize, 65_500..65_600_usize];
    let payload = size.prop_flat_map(|size| prop::collection::vec(any::<u8>(), size));
    let part = prop_oneof![
        3 => (payload, any::<bool>()).prop_map(|(payload, ends)| Part::Data { payload, ends }),
        1 => control().prop_map(Part::Ping),
        1 => control().prop_map(Part::Pong),
    ];
    prop::collection::vec(part, 0..12)
}

/// The frames as `tungstenite` writes them, each with a mask of its own.
fn frames(parts: &[Part]) -> Vec<u8> {
    let (mut bytes, mut is_first) = (Vec::new(), true);
    for (number, part) in parts.iter().enumerate() {
        let (payload, opcode, is_final) = match part {
            Part::Data { payload, ends } => {
                let opcode = if is_first { Data::Binary } else { Data::Continue };
                is_first = *ends;
                (payload, OpCode::Data(opcode), *ends)
            }
            Part::Ping(payload) => (payload, OpCode::Control(ControlCode::Ping), true),
            Part::Pong(payload) => (payload, OpCode::Control(ControlCode::Pong), true),
        };
        let mask = Some([number as u8, 0x5a, 0, 0xff]);
        let header = FrameHeader { is_final, opcode, mask, ..FrameHeader::default() };
        Frame::from_payload(header, Bytes::from(payload.clone())).format(&mut bytes).unwrap();
    }
    bytes
}

proptest! {
    #[test]
    fn frames_of_another_implementation_are_read(parts in parts(), sizes in prop::collection::vec(1..5_000_usize, 1..20)) {
        let (data, controls, decoded) = decode(&frames(&parts), &sizes);
        prop_assert_eq!(decoded, Ok(()));
        let expected = parts.iter().filter_map(|part| match part {
            Part::Data { payload, .. } => Some(payload.as_slice()),
            _ => None,
        });
        prop_assert_eq!(data, expected.collect::<Vec<_>>().concat());
        let pings: Vec<_> = parts.iter().filter_map(|part| match part {
            Part::Ping(payload) => Some(Control::Ping(payload.clone())),
            _ => None,
        }).collect();
        prop_assert_eq!(controls, pings);
    }

    #[test]
    fn frames_are_written_as_another_implementation_reads_them(payload in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 65_530..65_540),
    ]) {
        let mut bytes = Vec::new();
        encode(Opcode::Binary, &payload, &mut bytes);
        let mut cursor = io::Cursor::new(&bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        prop_assert!(header.is_final && header.mask.is_none());
        prop_assert_eq!(header.opcode, OpCode::Data(Data::Binary));
        prop_assert_eq!(length, payload.len() as u64);
        prop_assert_eq!(&bytes[cursor.position() as usize..], payload);
    }

    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>) {
        let length = bytes.len();
        let (kept, _) = Decoder::default().decode(&mut bytes, |_| {});
        prop_assert!(kept <= length);
    }
}

/// The two ends of a connection, the server's as a WebSocket.
fn pair(room: usize) -> (tokio::io::DuplexStream, WebSocket<tokio::io::DuplexStream>) {
    let (client, server) = tokio::io::duplex(room);
    (client, WebSocket::new(server, Bytes::new()))
}

#[tokio::test]
async fn what_is_written_leaves_as_binary_frames_however_narrow_the_way() {
    for room in [1, 100, 1 << 20] {
        let (mut client, mut server) = pair(room);
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let sending = async move {
            server.write_all(&sent).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let mut bytes = Vec::new();
        let (_, read) = tokio::join!(sending, client.read_to_end(&mut bytes));
        read.unwrap();
        let mut cursor = io::Cursor::new(bytes.as_slice());
        let mut data = Vec::new();
        loop {
            let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let start = cursor.position() as usize;
            let payload = &bytes[start..start + length as usize];
            cursor.set_position(start as u64 + length);
            match header.opcode {
                OpCode::Data(Data::Binary) => data.extend_from_slice(payload),
                OpCode::Control(ControlCode::Close) => {
                    assert_eq!(payload, 1000_u16.to_be_bytes());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(cursor.position() as usize, bytes.len(), "nothing behind the Close frame");
        assert!(data == expected);
    }
}

#[tokio::test]
async fn early_bytes_come_first() {
    let (mut client, server) = tokio::io::duplex(1000);
    let early = client_frame(0x82, b"early ");
    let mut server = WebSocket::new(server, Bytes::from(early));
    client.write_all(&client_frame(0x82, b"late")).await.unwrap();
    // A buffer smaller than a frame's head, too.
    let mut data = [0; 10];
    for byte in &mut data {
        *byte = server.read_u8().await.unwrap();
    }
    assert_eq!(&data, b"early late");
}

#[tokio::test]
async fn pings_are_answered_while_nothing_else_happens() {
    let (mut client, mut server) = pair(1000);
    client.write_all(&client_frame(0x89, b"are you there?")).await.unwrap();
    let reading = tokio::spawn(async move { server.read_u8().await });
    let mut pong = [0; 16];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x0eare you there?");
    drop(client);
    assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_close_frame_is_returned_and_ends_reading_and_writing() {
    let (mut client, mut server) = pair(1000);
    client.write_all(&client_frame(0x82, b"last words")).await.unwrap();
    client.write_all(&client_frame(0x88, b"\x03\xe9going away")).await.unwrap();
    client.write_all(&client_frame(0x82, b"ignored")).await.unwrap();
    let mut data = Vec::new();
    server.read_to_end(&mut data).await.unwrap();
    assert_eq!(data, b"last words");
    assert_eq!(server.write(b"too late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x88\x02\x03\xe9");
}

#[tokio::test]
async fn a_violation_is_told_and_fails_the_stream_behind_what_was_right() {
    for (wrong, code) in [(client_frame(0x81, b"text"), 1003_u16), (b"\x82\x01x".to_vec(), 1002)] {
        let (mut client, mut server) = pair(1000);
        client.write_all(&client_frame(0x82, b"right")).await.unwrap();
        client.write_all(&wrong).await.unwrap();
        let mut data = Vec::new();
        let error = server.read_to_end(&mut data).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(data, b"right");
        let mut close = [0; 4];
        client.read_exact(&mut close).await.unwrap();
        let [high, low] = code.to_be_bytes();
        assert_eq!(close, [0x88, 2, high, low]);
    }
}

/// A connection on which endless pings come and nothing can be sent.
struct Flood {
    left: usize,
    next: std::iter::Cycle<std::vec::IntoIter<u8>>,
}

impl AsyncRead for Flood {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        while buffer.remaining() > 0 {
            buffer.put_slice(&[self.next.next().unwrap()]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[test]
fn a_flood_of_pings_takes_no_memory() {
    let next = client_frame(0x89, &[7; 125]).into_iter().cycle();
    let mut server = WebSocket::new(Flood { left: 1000, next }, Bytes::new());
    let mut buffer = vec![0; 64 << 10];
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(&mut server).poll_read(&mut cx, &mut ReadBuf::new(&mut buffer)).is_pending());
    assert_eq!(server.get_ref().left, 0);
    assert!(server.buffered() <= 2 * (125 + 14), "{}", server.buffered());
}
