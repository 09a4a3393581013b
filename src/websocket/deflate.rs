//! Compressed messages: permessage-deflate (RFC 7692), without context from one message to the next in either
//! direction, so that a connection holds no memory for it. One compressor a thread serves all of them.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use hyper::{
    HeaderMap,
    header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS},
};

use super::decoder::Violation;

/// The extension's name.
const NAME: &str = "permessage-deflate";

/// What is agreed to. A client that keeps context must be told not to (RFC 7692 section 7.1.1.2).
const AGREED: HeaderValue =
    HeaderValue::from_static("permessage-deflate; server_no_context_takeover; client_no_context_takeover");

/// What a message's compressed form ends with, which is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes below which compressing is not worth it.
const MINIMUM_BYTES: usize = 256;

/// Bytes that are compressed or decompressed at a time.
const STEP_BYTES: usize = 16 << 10;

thread_local! {
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// What to answer where a request offers the extension in a form that is taken.
pub fn agree(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(is_taken).then_some(AGREED)
}

/// Whether an offer asks for nothing that cannot be done: a smaller window of the server's cannot.
fn is_taken(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some(NAME) {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|parameter| {
        let (name, value) = parameter
            .split_once('=')
            .map_or((parameter, None), |(name, value)| (name.trim(), Some(value.trim().trim_matches('"'))));
        let is_new = !seen.contains(&name);
        seen.push(name);
        let is_window = |value: &str| matches!(value.parse(), Ok(8..=15_u8)) && !value.starts_with('0');
        is_new
            && match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
                ("client_max_window_bits", value) => value.is_none_or(is_window),
                ("server_max_window_bits", Some(value)) => value == "15",
                _ => false,
            }
    })
}

/// The compressed form of a message, where it is worth it.
pub fn compress(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < MINIMUM_BYTES {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        compressor.reset();
        let mut out = Vec::with_capacity(message.len() / 2 + 64);
        loop {
            let read = usize::try_from(compressor.total_in()).unwrap_or(usize::MAX);
            let rest = message.get(read..).unwrap_or_default();
            compressor.compress_vec(rest, &mut out, FlushCompress::Sync).ok()?;
            let read = usize::try_from(compressor.total_in()).unwrap_or(usize::MAX);
            // A flush is over when there is room left behind it.
            if read >= message.len() && out.len() < out.capacity() && out.ends_with(&TAIL) {
                out.truncate(out.len() - TAIL.len());
                return (out.len() < message.len()).then_some(out);
            }
            out.reserve(STEP_BYTES);
        }
    })
}

/// The message of a compressed form, of at most `maximum` bytes.
///
/// # Errors
/// [`Violation`]
pub fn decompress(mut compressed: Vec<u8>, maximum: usize) -> Result<Vec<u8>, Violation> {
    compressed.extend_from_slice(&TAIL);
    let mut decompressor = Decompress::new(false);
    let mut out = Vec::new();
    loop {
        let room = maximum.saturating_add(1).saturating_sub(out.len()).min(STEP_BYTES);
        if room == 0 {
            return Err(Violation::TooLarge);
        }
        out.reserve_exact(room);
        let (read, written) = (decompressor.total_in(), decompressor.total_out());
        let rest = compressed.get(usize::try_from(read).unwrap_or(usize::MAX)..).unwrap_or_default();
        let status = decompressor.decompress_vec(rest, &mut out, FlushDecompress::Sync);
        if out.len() > maximum {
            return Err(Violation::TooLarge);
        }
        match status {
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(_) if decompressor.total_in() == read && decompressor.total_out() == written => {
                let is_whole = usize::try_from(read) == Ok(compressed.len());
                return if is_whole { Ok(out) } else { Err(Violation::Compressed) };
            }
            Ok(_) => {}
            Err(_) => return Err(Violation::Compressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agreed(offer: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(offer).unwrap());
        agree(&headers).is_some()
    }

    #[test]
    fn offers_that_can_be_kept_are_taken() {
        for (offer, is_taken) in [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("foo, permessage-deflate; client_no_context_takeover; client_max_window_bits=\"10\"", true),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", true),
            ("permessage-deflate; server_max_window_bits=15", true),
            ("permessage-deflate; server_max_window_bits=10", false),
            ("permessage-deflate; server_max_window_bits", false),
            ("permessage-deflate; client_max_window_bits=7", false),
            ("permessage-deflate; client_max_window_bits=08", false),
            ("permessage-deflate; client_no_context_takeover=1", false),
            ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", false),
            ("permessage-deflate; other", false),
            ("x-webkit-deflate-frame", false),
            ("", false),
        ] {
            assert_eq!(agreed(offer), is_taken, "{offer}");
        }
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        // RFC 7692 section 7.2.3.1: "Hello", in one block and in two.
        for compressed in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(decompress(compressed.into(), 5), Ok(b"Hello".into()));
            assert_eq!(decompress(compressed.into(), 4), Err(Violation::TooLarge));
        }
        assert_eq!(decompress(vec![0xff; 9], 100), Err(Violation::Compressed));
    }

    #[test]
    fn a_message_that_explodes_is_refused() {
        let bomb = compress(&vec![b' '; 10 << 20]).unwrap();
        assert!(bomb.len() < 100_000);
        assert_eq!(decompress(bomb, 1 << 20), Err(Violation::TooLarge));
        assert_eq!(compress(b"short"), None);
    }

    proptest! {
        #[test]
        fn messages_come_back(parts in prop::collection::vec(("[a-e]{1,40}", 1..60_usize), 1..60)) {
            let message: String = parts.iter().map(|(text, times)| text.repeat(*times)).collect();
            if let Some(compressed) = compress(message.as_bytes()) {
                prop_assert_eq!(decompress(compressed, message.len()), Ok(message.into_bytes()));
            }
        }
    }
}
