//! Load generator and yardsticks for synap-mqtt and its peers.
//!
//! The pieces that the binaries share. One [`load::run`] is: dial every connection, wait until
//! all subscriptions are granted, publish, wait until everything acknowledged has arrived or
//! nothing more comes, and compare what was acknowledged with what was delivered, counter by
//! counter. The client is this package's own and knows only what a benchmark needs, so that the
//! broker is the slower side: many PUBLISHes per write, many packets per read, nothing
//! allocated per message.

pub mod codec;
pub mod counters;
pub mod dial;
pub mod fill;
pub mod journal;
pub mod load;
pub mod meter;
pub mod plan;
pub mod process;
pub mod publisher;
pub mod receiver;
pub mod report;
pub mod source;
pub mod sse;
pub mod stamp;
pub mod watch;
pub mod watchers;
