//! Routes as configured become routes as compiled.

use crate::{
    config::{Decode, RouteSettings, Settings, Store},
    mapping::{Decoder, Route, RouteError, RouteTable, TimeWindow},
    types::Kept,
};

/// Compiles the routes of a configuration.
pub fn compile(settings: &Settings) -> Result<RouteTable, RouteError> {
    let routes: Vec<_> = settings.routes.iter().map(route).collect();
    RouteTable::compile(&routes)
}

/// Whether there are measurements to keep.
pub fn measure(settings: &Settings) -> bool {
    settings.routes.iter().any(|route| route.store != Store::Event)
}

fn route(route: &RouteSettings) -> Route {
    Route {
        topic: route.topic.as_str().to_owned(),
        event_type: route.event_type.as_str().to_owned(),
        subject: route.subject.as_ref().map(|subject| subject.as_str().to_owned()),
        subject_type: route.subject_type.clone(),
        timestamp: route.timestamp.as_ref().map(|pointer| pointer.as_str().to_owned()),
        time_window: TimeWindow { past: route.time_window.past, ahead: route.time_window.ahead },
        decoder: decoder(route.decode),
        kept: kept(route.store),
        metrics: route.metrics.iter().map(|pointer| pointer.as_str().to_owned()).collect(),
        measure_booleans: route.measure_booleans,
        reliability: route.reliability,
        stream: route.stream,
    }
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
