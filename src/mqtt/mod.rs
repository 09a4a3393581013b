//! Stub.

pub mod codec;
