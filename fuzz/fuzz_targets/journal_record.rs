//! Journal records: any bytes are one or are refused, one that was read is written to the same bytes again, and no
//! flipped bit goes unnoticed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synap_mqtt::journal::record::{Header, Record, Salt, decode, encode, find_header, seal};

const SALT: Salt = Salt(0x5eed_5a17);

fuzz_target!(|data: &[u8]| {
    let Some((&place, bytes)) = data.split_first() else { return };
    let _ = decode(bytes, Some(SALT));
    find_header(bytes, SALT);
    // Without checksums, which a search would never find.
    let Ok((header, record)) = decode(bytes, None) else { return };
    if let Record::Publication { publication, .. } = &record {
        publication.properties.iter().for_each(drop);
    }
    let written = write(&header, &record);
    let (_, again) = decode(&written, Some(SALT)).expect("what was written can be read");
    assert_eq!(again, record);
    assert_eq!(write(&header, &again), written);
    assert_eq!(find_header(&written, SALT).map(|(at, _)| at), Some(0));
    let mut damaged = written;
    let bits = damaged.len() * 8;
    let bit = usize::from(place) * bits / 256;
    damaged[bit / 8] ^= 1 << (bit % 8);
    assert!(decode(&damaged, Some(SALT)).is_err(), "bit {bit} is flipped and nobody notices");
});

fn write(header: &Header, record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(record, &mut out);
    seal(&mut out, header.sequence, header.received, SALT);
    out
}
