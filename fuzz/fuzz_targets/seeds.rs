//! No target: writes the seeds of all others into the current directory. It looks like one because what it is linked
//! with has libFuzzer's counters, and libFuzzer brings its own main.

#![no_main]

use std::{path::Path, process};

use libfuzzer_sys::fuzz_target;
use synap_mqtt_fuzz::seeds;

fuzz_target!(init: write(), |_data: &[u8]| {});

fn write() {
    match seeds::write(Path::new(".")) {
        Ok(()) => process::exit(0),
        Err(error) => panic!("cannot write the seeds: {error}"),
    }
}
