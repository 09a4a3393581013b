//! What the fuzz targets share.
//!
//! [`broker`] is the one broker that all inputs of a process talk to, [`input`] turns bytes from the fuzzer into
//! what clients send, and [`answers`] checks what comes back. [`seeds`] makes the inputs that a search
//! begins with. A broken invariant is a panic, in whichever task or thread: libFuzzer then keeps the input.

pub mod answers;
pub mod broker;
pub mod frames;
pub mod input;
pub mod seeds;
