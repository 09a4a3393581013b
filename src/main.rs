//! The `synap-mqtt` binary.

fn main() {}
