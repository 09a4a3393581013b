//! The standards, statement by statement: MQTT 3.1.1 and 5.0, as the real binary keeps them on
//! real sockets.
//!
//! Each test is named after the statement that it proves, `v5_3_1_2_22_…` for [MQTT-3.1.2-22] of
//! MQTT 5.0 and `v311_…` for 3.1.1, and docs/conformance.md says for every statement which tests
//! prove it, or why none does; `table` compares the two. Modules follow the standards' sections.
//!
//! Packets are bytes, so that the tests can also say what no client library would. That nothing
//! comes is proved by something later that does.

#![cfg(test)]

mod acknowledge;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod encoding;
mod errors;
mod flow;
mod identifier;
mod listener;
mod order;
mod properties;
mod publish;
mod quality;
mod reason_strings;
mod restart;
mod retain;
mod session;
mod shared;
mod subscribe;
mod support;
mod table;
mod topics;
mod unsubscribe;
mod websocket;
mod will;
