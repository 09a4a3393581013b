//! Routes as configured become routes as compiled.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use crate::{
    config::{self, Decode, OnError, RouteSettings, Settings, Store},
    mapping::{Decoder, Dedupe, DedupeBy, Route, RouteTable, TimeWindow},
    types::Kept,
};

/// Compiles the routes of a configuration, and reads the schemas that they name.
pub fn compile(settings: &Settings) -> anyhow::Result<RouteTable> {
    let routes = settings.routes.iter().map(route).collect::<Result<Vec<_>, _>>()?;
    Ok(RouteTable::compile(&routes)?)
}

/// Whether there are measurements to keep.
pub fn measure(settings: &Settings) -> bool {
    settings.routes.iter().any(|route| route.store != Store::Event)
}

fn route(route: &RouteSettings) -> anyhow::Result<Route> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path)
            .with_context(|| format!("read the schema of route {}: {}", route.topic, path.display()))
    };
    Ok(Route {
        topic: route.topic.as_str().to_owned(),
        event_type: route.event_type.as_str().to_owned(),
        subject: route.subject.as_ref().map(|subject| subject.as_str().to_owned()),
        subject_type: route.subject_type.clone(),
        timestamp: route.timestamp.as_ref().map(|pointer| pointer.as_str().to_owned()),
        time_window: TimeWindow { past: route.time_window.past, ahead: route.time_window.ahead },
        decoder: decoder(route.decode),
        strict: route.on_error == OnError::DeadLetter,
        schema: route.schema.as_ref().map(read).transpose()?,
        dedupe: route.dedupe.as_ref().map(|by| dedupe(by, route.dedupe_window)),
        kept: kept(route.store),
        metrics: route.metrics.iter().map(|pointer| pointer.as_str().to_owned()).collect(),
        measure_booleans: route.measure_booleans,
        reliability: route.reliability,
        stream: route.stream,
    })
}

const fn decoder(decode: Decode) -> Decoder {
    match decode {
        Decode::Auto => Decoder::Auto,
        Decode::Json => Decoder::Json,
        Decode::Text => Decoder::Text,
        Decode::Raw => Decoder::Raw,
        Decode::Cbor => Decoder::Cbor,
        Decode::Msgpack => Decoder::MsgPack,
        Decode::SparkplugB => Decoder::SparkplugB,
    }
}

const fn kept(store: Store) -> Kept {
    match store {
        Store::Event => Kept::Event,
        Store::Measurement => Kept::Measurements,
        Store::Both => Kept::Both,
    }
}

fn dedupe(by: &config::Dedupe, window: Duration) -> Dedupe {
    let by = match by {
        config::Dedupe::Pointer(pointer) => DedupeBy::Pointer(pointer.as_str().to_owned()),
        config::Dedupe::Property(name) => DedupeBy::Property(name.property.clone()),
    };
    Dedupe { by, window }
}
