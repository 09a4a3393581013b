//! The whole product from outside: the real binary, driven by the clients that users have.
//!
//! One test binary for all of it, so that it is linked once. `support` holds what the tests
//! share. Tests wait for conditions and assert on data; deadlines exist only to name what hangs.

#![cfg(test)]

mod access;
mod architecture;
mod authentication;
mod browser;
mod certificates;
mod client_library;
mod commands;
mod crash;
mod crash_subscribers;
mod dead_letters;
mod decoders;
mod devices;
mod egress;
mod event_sockets;
mod exactly_once;
mod export;
mod failed_attempts;
mod floods;
mod full_disk;
mod greedy;
mod hostile;
mod import;
mod moving;
mod openapi;
mod other_writers;
mod page;
mod page_for_everyone;
mod page_views;
mod payload_format;
mod plots;
mod pooled;
mod presence;
mod provisioning;
mod proxies;
mod proxy_protocol;
mod publishing;
mod qos;
mod reload;
mod repeats;
mod resumption;
mod retained;
mod retained_limits;
mod retention;
mod sea_surface;
mod sessions;
mod shared;
mod slow_watchers;
mod support;
mod system_topics;
mod timescale_cut;
mod tokens;
mod tour;
mod transports;
mod unix_socket;
mod watchers;
mod web_access;
mod websocket;
mod wills;
