//! The PROXY protocol, versions 1 and 2: a proxy's word on who the client is, before the
//! client's own first byte.
//!
//! Read to its last byte and no further, so that what follows, TLS for instance, is untouched.
//! A listener that expects it takes no connection without it: otherwise anyone could choose
//! whether to be known by a true address or a made-up one. Whoever reaches such a listener is
//! believed.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits;

/// The first 12 bytes of version 2 (section 2.2); version 1 has no shorter header.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How version 1 begins (section 2.1).
const PREFIX: &[u8] = b"PROXY ";

/// Bytes of the longest header of version 1, its line end included.
const MAXIMUM_LINE_BYTES: usize = 107;

/// Why a connection has no PROXY protocol header that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Closed before the first byte, as checks of whether the port is open do.
    #[error("the connection was closed before its PROXY protocol header")]
    Empty,
    /// The connection failed or ended.
    #[error("the PROXY protocol header was cut off: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are of something else.
    #[error("there is no PROXY protocol header, which this listener asks for")]
    Missing,
    /// A line without end, or too much behind the addresses.
    #[error("the PROXY protocol header is too long")]
    TooLong,
    /// Something in the header is wrong.
    #[error("the PROXY protocol header is wrong: {0}")]
    Malformed(&'static str),
}

/// Reads the header. None where the proxy speaks for itself or does not know the client.
pub async fn read<S: AsyncRead + Unpin>(io: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    let (first, rest) = start.split_at_mut(1);
    if io.read(first).await? == 0 {
        return Err(ProxyError::Empty);
    }
    // What is certainly no header need not be waited for any longer.
    if first != &SIGNATURE[..1] && first != &PREFIX[..1] {
        return Err(ProxyError::Missing);
    }
    io.read_exact(rest).await?;
    if start == SIGNATURE {
        read_binary(io).await
    } else if start.starts_with(PREFIX) {
        read_line(io, &start).await
    } else {
        Err(ProxyError::Missing)
    }
}

/// Version 1: one line of text.
async fn read_line<S: AsyncRead + Unpin>(io: &mut S, start: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let mut line = start.to_vec();
    // Byte by byte, because the length is not known and nothing behind it may be taken.
    while !line.ends_with(b"\n") {
        if line.len() == MAXIMUM_LINE_BYTES {
            return Err(ProxyError::TooLong);
        }
        line.push(io.read_u8().await?);
    }
    parse_line(&line)
}

fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let malformed = ProxyError::Malformed;
    let line = line.strip_suffix(b"\r\n").ok_or(malformed("the line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| malformed("it is not text"))?;
    let mut words = line.split(' ').skip(1);
    let is_v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // What follows is to be ignored.
        Some("UNKNOWN") => return Ok(None),
        _ => return Err(malformed("the protocol is none of TCP4, TCP6 and UNKNOWN")),
    };
    let mut endpoint = [(); 4].map(|()| words.next());
    endpoint.swap(1, 2);
    let [Some(source), Some(port), Some(destination), Some(destination_port)] = endpoint else {
        return Err(malformed("there are not two addresses and two ports"));
    };
    if words.next().is_some() {
        return Err(malformed("there is more than two addresses and two ports"));
    }
    parse_endpoint(is_v4, destination, destination_port)?;
    parse_endpoint(is_v4, source, port).map(Some)
}

fn parse_endpoint(is_v4: bool, address: &str, port: &str) -> Result<SocketAddr, ProxyError> {
    let wrong = ProxyError::Malformed("an address is not one of its family");
    let address =
        if is_v4 { address.parse::<Ipv4Addr>().map(Into::into) } else { address.parse::<Ipv6Addr>().map(Into::into) };
    let is_canonical = port == "0" || !port.starts_with(['0', '+']);
    let port = port.parse().ok().filter(|_| is_canonical);
    Ok(SocketAddr::new(
        address.map_err(|_| wrong)?,
        port.ok_or(ProxyError::Malformed("a port is not a number from 0 to 65535"))?,
    ))
}

/// Version 2, behind its signature.
async fn read_binary<S: AsyncRead + Unpin>(io: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    let (version_and_command, family_and_protocol) = (io.read_u8().await?, io.read_u8().await?);
    let length = usize::from(io.read_u16().await?);
    if length > limits::MAXIMUM_PROXY_HEADER_BYTES {
        return Err(ProxyError::TooLong);
    }
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    parse_binary(version_and_command, family_and_protocol, &body)
}

/// The body's addresses; the TLVs behind them are skipped.
fn parse_binary(
    version_and_command: u8,
    family_and_protocol: u8,
    body: &[u8],
) -> Result<Option<SocketAddr>, ProxyError> {
    let malformed = ProxyError::Malformed;
    match version_and_command {
        // LOCAL: the proxy itself, checking health. The rest is to be discarded.
        0x20 => return Ok(None),
        0x21 => {}
        _ => return Err(malformed("the version is not 2, or the command is neither LOCAL nor PROXY")),
    }
    let short = malformed("it is too short for its addresses");
    match family_and_protocol {
        // Unspecified, or Unix: the client's address is none of a network.
        0x00 | 0x31 | 0x32 => Ok(None),
        0x11 | 0x12 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *body.first_chunk().ok_or(short)?;
            Ok(Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()))
        }
        0x21 | 0x22 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(short)?;
            let [.., high, low, _, _] =
                *rest.first_chunk::<20>().ok_or(ProxyError::Malformed("it is too short for its addresses"))?;
            Ok(Some((Ipv6Addr::from(*source), u16::from_be_bytes([high, low])).into()))
        }
        _ => Err(malformed("the address family is not known")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ppp::v2::{Builder, Command, Protocol, Version};
    use proptest::prelude::*;

    use super::*;

    /// What is read from `bytes`, and what is left of them.
    fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, usize) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(read(&mut rest));
        (outcome, rest.len())
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lines_are_read() {
        let v4 = "192.0.2.7:5000".parse().ok();
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 5000 1883", v4),
            ("PROXY TCP6 2001:db8::7 ::1 5000 0", "[2001:db8::7]:5000".parse().ok()),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN whatever this may be", None),
        ] {
            let (outcome, left) = read_all(format!("{line}\r\nrest").as_bytes());
            assert_eq!((outcome.unwrap(), left), (client, 4), "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 5000 1883 1\r\n",
            "PROXY TCP4 ::1 ::1 5000 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 05000 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +5000 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 5000 65536\r\n",
            "PROXY TCP4 192.0.2.7  10.0.0.1 5000 1883\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 5000 1883\n",
            "PROXY TCP5 192.0.2.7 10.0.0.1 5000 1883\r\n",
        ] {
            assert!(matches!(read_all(line.as_bytes()).0, Err(ProxyError::Malformed(_))), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let (outcome, left) = read_all(endless.as_bytes());
        assert!(matches!(outcome, Err(ProxyError::TooLong)));
        assert_eq!(left, endless.len() - MAXIMUM_LINE_BYTES);
        assert!(matches!(read_all(b"PROXY TCP4 192.0").0, Err(ProxyError::Io(_))));
    }

    #[test]
    fn what_is_no_header_is_known_at_its_first_byte() {
        for (bytes, read) in [(&b"\x10\x0c\0\x04MQTT"[..], 1), (b"\x16\x03\x01", 1), (b"PROXIMITY!!!", 12)] {
            let (outcome, left) = read_all(bytes);
            assert!(matches!(outcome, Err(ProxyError::Missing)), "{outcome:?}");
            assert_eq!(left, bytes.len() - read);
        }
        assert!(matches!(read_all(b"").0, Err(ProxyError::Empty)));
    }

    #[test]
    fn local_and_unspecified_say_nothing_of_the_client() {
        let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0x13, 0x88, 0x07, 0x5b];
        for (command, family, body) in
            [(0x20, 0x00, &[][..]), (0x20, 0x11, &addresses), (0x21, 0x00, b"tlv"), (0x21, 0x31, &[0; 216])]
        {
            let (outcome, left) = read_all(&binary(command, family, body));
            assert_eq!((outcome.unwrap(), left), (None, 0), "{command:x} {family:x}");
        }
        for (command, family, body) in [
            (0x11, 0x11, &addresses[..]),
            (0x22, 0x11, &addresses),
            (0x21, 0x41, &addresses),
            (0x21, 0x13, &addresses),
            (0x21, 0x11, &addresses[..11]),
            (0x21, 0x21, &addresses),
        ] {
            let outcome = read_all(&binary(command, family, body)).0;
            assert!(matches!(outcome, Err(ProxyError::Malformed(_))), "{command:x} {family:x}");
        }
        let long = vec![0; limits::MAXIMUM_PROXY_HEADER_BYTES + 1];
        assert!(matches!(read_all(&binary(0x21, 0x11, &long)).0, Err(ProxyError::TooLong)));
    }

    proptest! {
        /// Headers of another implementation are read as it means them.
        #[test]
        fn headers_of_others_are_read(source: SocketAddr, destination: SocketAddr, tlv in prop::collection::vec(any::<u8>(), 0..200)) {
            // Both of one family; flow and scope are on no wire.
            let source = SocketAddr::new(source.ip(), source.port());
            let destination = SocketAddr::new(match (source.ip(), destination.ip()) {
                (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::LOCALHOST.into(),
                (IpAddr::V6(_), IpAddr::V4(_)) => Ipv6Addr::LOCALHOST.into(),
                (_, same) => same,
            }, destination.port());
            let addresses = (source, destination);
            let mut bytes = Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
                .write_tlv(0xe0, &tlv).unwrap().build().unwrap();
            bytes.extend(b"rest");
            let (outcome, left) = read_all(&bytes);
            prop_assert_eq!((outcome.unwrap(), left), (Some(source), 4));

            let mut line = ppp::v1::Addresses::from(addresses).to_string().into_bytes();
            line.extend(b"rest");
            let (outcome, left) = read_all(&line);
            prop_assert_eq!((outcome.unwrap(), left), (Some(source), 4));
        }

        /// Any bytes end in an outcome, and no more than a header's bytes are taken.
        #[test]
        fn any_bytes_are_survived(tail in prop::collection::vec(any::<u8>(), 0..600), start in 0..3_usize) {
            let mut bytes = [&SIGNATURE[..], b"PROXY TCP4 ", b""][start].to_vec();
            bytes.extend(tail);
            let (_, left) = read_all(&bytes);
            prop_assert!(bytes.len() - left <= 16 + limits::MAXIMUM_PROXY_HEADER_BYTES);
        }
    }
}
