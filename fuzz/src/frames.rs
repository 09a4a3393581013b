//! WebSocket frames as a client sends and reads them (RFC 6455 section 5.2), apart from the code that is tested.

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One binary frame, final and masked.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The MQTT in what a server has sent. The last frame may be cut off.
///
/// # Panics
/// When a server must not send this.
pub fn unframe(mut received: &[u8]) -> Vec<u8> {
    let mut payloads = Vec::new();
    let mut is_over = false;
    while let [first, second, rest @ ..] = received {
        assert!(!is_over, "a frame behind a Close frame");
        assert_eq!(first & 0xf0, 0x80, "final, without reserved bits: {first:02x}");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, rest) = match (second, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest),
            (126 | 127, _) => break,
            (length, rest) => (u64::from(*length), rest),
        };
        let there = rest.len().min(length as usize);
        let (payload, rest) = rest.split_at(there);
        match first & 0x0f {
            2 => payloads.extend(payload),
            8 => is_over = true,
            10 => assert!(length <= 125, "a control frame of {length} bytes"),
            opcode => panic!("a server has no reason to send opcode {opcode}"),
        }
        received = rest;
    }
    payloads
}
