//! State changes of sessions: any bytes are one or are refused, and what was read is written to the same bytes for
//! good. They may be fewer than those that were read, where a number was longer than it needs to be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synap_mqtt::mqtt::rewrite_state_change;

fuzz_target!(|data: &[u8]| {
    let Some(written) = rewrite_state_change(data) else { return };
    assert!(written.len() <= data.len(), "{written:02x?}");
    assert_eq!(rewrite_state_change(&written).as_ref(), Some(&written), "{data:02x?}");
});
