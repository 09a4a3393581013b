//! Rules of `[[egress]]` as configured become rules as they are followed.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    config::{EgressPayload, EgressSettings, Settings},
    egress::{self, Egress, Payload, Rule},
    journal::{Journal, StateStore},
    types::{EventMapper, Qos},
};

/// The consumer that follows the rules; none where there are none. Before retention is let loose.
pub async fn open(
    settings: &Settings,
    journal: &Journal,
    mapper: &Arc<dyn EventMapper>,
    store: &Arc<StateStore>,
) -> anyhow::Result<Option<Egress>> {
    let rules: Vec<Rule> = settings.egress.iter().map(rule).collect();
    let maximum_bytes = settings.limits.maximum_packet_size;
    let (journal, mapper, store) = (journal.clone(), Arc::clone(mapper), Arc::clone(store));
    let open = move || {
        if rules.is_empty() {
            egress::forget(&store).context("forget how far events have reached devices")?;
            return Ok(None);
        }
        let egress = Egress::open(journal, mapper, store, rules, maximum_bytes);
        egress.map(Some).context("find out how far events have reached devices")
    };
    tokio::task::spawn_blocking(open).await?
}

fn rule(settings: &EgressSettings) -> Rule {
    let payload = match &settings.payload {
        Some(EgressPayload::Place(pointer)) => Payload::Place(pointer.clone()),
        Some(EgressPayload::Text(text)) => Payload::Text(text.clone()),
        Some(EgressPayload::Object(members)) => {
            Payload::Object(members.iter().map(|(name, pointer)| (name.clone(), pointer.clone())).collect())
        }
        None => Payload::Event,
    };
    Rule {
        name: settings.name(),
        event_type: settings.event_type.clone(),
        topic: settings.topic.clone(),
        payload,
        qos: Qos::try_from(settings.qos).unwrap_or(Qos::AtLeastOnce),
        retain: settings.retain,
        expiry: settings.expiry,
    }
}
