//! Lets the HTTP server ask about devices: what their events have told, and whether their clients are there.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    devices::{Devices, DevicesError},
    http::{DeviceDirectory, DevicesUnavailable},
    mqtt::Broker,
    types::{DeviceInfo, DevicePage, DeviceQuery, DeviceState, EventMapper, TopicFilter, subject_id},
};

/// The devices whose events are known, and the broker that knows who is connected.
pub struct Directory {
    /// What is known.
    pub devices: Devices,
    /// Who is connected.
    pub broker: Arc<Broker>,
    /// Which topics name devices.
    pub mapper: Arc<dyn EventMapper>,
}

impl Directory {
    /// Its own events say whether it is there. Where it has none, the client is asked that published for it last.
    fn describe(&self, device: String, state: DeviceState) -> DeviceInfo {
        let is_announced = !state.connections.is_empty() || state.last_closed.is_some();
        let since = match state.connections.first() {
            Some(open) => Some(open.since),
            None if is_announced => None,
            None => self.broker.connected_since(&state.client_id),
        };
        DeviceInfo { subject_id: subject_id(&device), device, online: since.is_some(), since, state }
    }

    async fn page(&self, query: DeviceQuery) -> Result<DevicePage, DevicesError> {
        let (found, has_more) = self.devices.behind(query.cursor, usize::from(query.limit), query.metrics).await?;
        let next_cursor = found.last().filter(|_| has_more).map(|(name, _)| name.clone());
        let devices = found.into_iter().map(|(name, state)| self.describe(name, state));
        Ok(DevicePage { devices: devices.collect(), next_cursor })
    }
}

impl DeviceDirectory for Directory {
    fn page(&self, query: DeviceQuery) -> BoxFuture<'_, Result<DevicePage, DevicesUnavailable>> {
        Box::pin(async move { self.page(query).await.map_err(|error| DevicesUnavailable(error.into())) })
    }

    fn device<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<DeviceInfo>, DevicesUnavailable>> {
        Box::pin(async move {
            let found = self.devices.get(name.to_owned()).await.map_err(|error| DevicesUnavailable(error.into()))?;
            Ok(found.map(|state| self.describe(name.to_owned(), state)))
        })
    }

    fn topics(&self, name: &str) -> Vec<TopicFilter> {
        self.mapper.topics_of(name)
    }
}
