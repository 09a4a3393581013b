//! What to run: who publishes how much of what to whom.

use std::time::Duration;

use clap::ValueEnum;

use crate::{process::Process, sse::Endpoint, stamp::Form};

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topics {
    /// A topic per publisher; every subscriber subscribes to all of them with a wildcard.
    Own,
    /// One topic for all; every subscriber gets everything.
    Fanout,
    /// A topic per publisher; each goes to one subscriber, which subscribes to it by name.
    Paired,
}

/// When a publisher stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// After so many messages.
    Messages(u64),
    /// At a time of the clock, in nanoseconds.
    Until(u64),
}

/// How much is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Messages over all publishers.
    Messages(u64),
    /// As much as goes in this time.
    For(Duration),
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Publishing connections.
    pub publishers: u32,
    /// Subscribing MQTT connections.
    pub subscribers: u32,
    /// Event stream clients and where they connect.
    pub sse: Option<(u32, Endpoint)>,
    /// QoS of both publications and subscriptions.
    pub qos: u8,
    /// Payload in bytes.
    pub payload: usize,
    /// Form of the payload.
    pub form: Form,
    /// Unacknowledged messages per publisher.
    pub in_flight: u16,
    /// How much is published.
    pub amount: Amount,
    /// Messages per second over all publishers; 0 is as fast as the broker takes them.
    pub rate: f64,
    /// Who gets what.
    pub topics: Topics,
    /// Topic of a publisher, its number in place of `{}`.
    pub topic: String,
    /// The run ends when nothing moves for this long.
    pub quiet: Duration,
    /// The server, when its memory and processor time are wanted.
    pub server: Option<Process>,
}

impl Plan {
    /// The topic of a publisher.
    #[must_use]
    pub fn topic(&self, publisher: u32) -> String {
        match self.topics {
            Topics::Own | Topics::Paired => self.topic.replace("{}", &publisher.to_string()),
            Topics::Fanout => self.topic.replace("{}", "all"),
        }
    }

    /// What an MQTT subscriber subscribes to.
    #[must_use]
    pub fn filters(&self, subscriber: u32) -> Vec<String> {
        match self.topics {
            Topics::Own => {
                let levels = self.topic.split('/').map(|level| if level.contains("{}") { "+" } else { level });
                vec![levels.collect::<Vec<_>>().join("/")]
            }
            Topics::Fanout => vec![self.topic(0)],
            Topics::Paired => {
                (0..self.publishers).filter(|id| self.is_for(*id, subscriber)).map(|id| self.topic(id)).collect()
            }
        }
    }

    /// Whether a publisher's messages go to an MQTT subscriber.
    #[must_use]
    pub fn is_for(&self, publisher: u32, subscriber: u32) -> bool {
        self.topics != Topics::Paired || publisher % self.subscribers == subscriber
    }

    fn sse_clients(&self) -> u32 {
        self.sse.as_ref().map_or(0, |(clients, _)| *clients)
    }

    /// How many receivers get each message.
    #[must_use]
    pub fn copies(&self) -> u64 {
        let subscribers = if self.topics == Topics::Paired { self.subscribers.min(1) } else { self.subscribers };
        u64::from(subscribers + self.sse_clients())
    }

    /// When a publisher that starts at a time of the clock stops.
    #[must_use]
    pub fn quota_of(&self, publisher: u32, now_ns: u64) -> Quota {
        match self.amount {
            Amount::For(time) => Quota::Until(now_ns + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            Amount::Messages(total) => {
                let (each, rest) = (total / u64::from(self.publishers), total % u64::from(self.publishers));
                Quota::Messages(each + u64::from(u64::from(publisher) < rest))
            }
        }
    }

    /// Nanoseconds between two messages of a publisher, where there is a limit.
    #[must_use]
    pub fn interval_ns(&self) -> Option<f64> {
        (self.rate > 0.0).then(|| 1e9 * f64::from(self.publishers) / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_add_up() {
        let plan = Plan {
            publishers: 3,
            subscribers: 2,
            sse: None,
            qos: 1,
            payload: 100,
            form: Form::Binary,
            in_flight: 10,
            amount: Amount::Messages(11),
            rate: 0.0,
            topics: Topics::Paired,
            topic: "a/{}".to_owned(),
            quiet: Duration::ZERO,
            server: None,
        };
        let quotas: Vec<_> = (0..3).map(|id| plan.quota_of(id, 0)).collect();
        assert_eq!(quotas, [Quota::Messages(4), Quota::Messages(4), Quota::Messages(3)]);
        assert_eq!(
            (plan.filters(0), plan.filters(1)),
            (vec!["a/0".to_owned(), "a/2".to_owned()], vec!["a/1".to_owned()])
        );
        assert_eq!(plan.copies(), 1);
        let wildcard = Plan { topics: Topics::Own, topic: "a/b-{}/c".to_owned(), ..plan };
        assert_eq!((wildcard.filters(1), wildcard.copies()), (vec!["a/+/c".to_owned()], 2));
    }
}
