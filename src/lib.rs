//! `synap-mqtt`: everything that arrives is appended to one durable journal, and everything
//! that leaves is a cursor over it. ARCHITECTURE.md walks one PUBLISH through these rooms.

pub mod app;
pub mod auth;
pub mod certs;
pub mod cli;
pub mod config;
pub mod devices;
pub mod egress;
pub mod formats;
pub mod http;
pub mod journal;
pub mod limits;
pub mod mapping;
pub mod mqtt;
pub mod provisioning;
pub mod stream;
pub mod telemetry;
pub mod timescale;
pub mod types;
pub mod websocket;
