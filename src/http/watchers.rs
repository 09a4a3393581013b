//! Who watches what: every stream that is open, for the features of people who work together.
//!
//! A stream is entered when it begins and leaves with what carries it, however that ends: [`Watching`] is the place
//! that it holds. A long poll watches while its answer is waited for. The version changes whenever anything here does,
//! and can be waited for, so that who wants changes need not ask again and again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Json, extract::State, http::Uri};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{parameters::Parameters, problem::Problem, routes::Context};
use crate::{
    limits,
    stream::{Filter, Mode},
    types::{Micros, Peer},
};

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Sse,
    Websocket,
    LongPoll,
}

/// Who watches, as the request says.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// What the client calls itself.
    pub name: Option<String>,
    /// Its account, where that is known.
    pub account: Option<String>,
    /// Where it comes from.
    pub peer: Option<Peer>,
}

/// A stream that is open.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Watcher {
    id: u64,
    name: Option<String>,
    account: Option<String>,
    address: Option<String>,
    transport: Transport,
    mode: &'static str,
    topics: Box<[String]>,
    types: Box<[String]>,
    devices: Box<[String]>,
    since: Micros,
}

/// Everyone who watches.
pub struct Watchers {
    table: Mutex<Table>,
    /// How often anything has changed.
    changes: watch::Sender<u64>,
    /// Of this process: numbers of another one mean nothing.
    life: Uuid,
}

#[derive(Default)]
struct Table {
    /// The number of the last one.
    last: u64,
    all: BTreeMap<u64, Watcher>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { table: Mutex::default(), changes: watch::Sender::new(0), life: Uuid::new_v4() }
    }
}

/// The place of one who watches, until it is dropped.
pub struct Watching {
    watchers: Arc<Watchers>,
    id: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.table.lock().all.remove(&self.id);
        self.watchers.has_changed();
    }
}

impl Watching {
    /// It watches something else from now on.
    pub fn change(&self, filter: &Filter) {
        if let Some(watcher) = self.watchers.table.lock().all.get_mut(&self.id) {
            watcher.set_filter(filter);
        }
        self.watchers.has_changed();
    }
}

impl Watcher {
    fn set_filter(&mut self, filter: &Filter) {
        self.topics = filter.topics.iter().map(|topic| topic.as_str().to_owned()).collect();
        self.types = filter.types.clone().into();
        self.devices = filter.devices.iter().map(|device| device.as_str().to_owned()).collect();
    }
}

impl Watchers {
    /// Somebody watches from now on.
    pub fn enter(self: &Arc<Self>, who: &Who, transport: Transport, mode: Mode, filter: &Filter) -> Watching {
        let mut watcher = Watcher {
            id: 0,
            name: who.name.clone(),
            account: who.account.clone(),
            address: who.peer.map(|peer| peer.to_string()),
            transport,
            mode: mode_name(mode),
            topics: Box::default(),
            types: Box::default(),
            devices: Box::default(),
            since: now(),
        };
        watcher.set_filter(filter);
        let id = {
            let mut table = self.table.lock();
            table.last += 1;
            watcher.id = table.last;
            let id = watcher.id;
            table.all.insert(id, watcher);
            id
        };
        self.has_changed();
        Watching { watchers: Arc::clone(self), id }
    }

    fn has_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn version(&self, changes: u64) -> String {
        format!("{}-{changes}", self.life.simple())
    }

    /// Waits until the version is another one than this.
    async fn changed_since(&self, version: &str, wait: Duration) {
        let mut changes = self.changes.subscribe();
        // Either way there is an answer.
        let _late = timeout(wait, changes.wait_for(|changes| self.version(*changes) != version)).await;
    }

    fn page(&self, query: &Query) -> Page {
        // Before the look: a change in between is told again, and not missed.
        let version = self.version(*self.changes.borrow());
        let table = self.table.lock();
        let mut page = Page { watchers: Vec::new(), next_cursor: None, counts: Counts::default(), version };
        for watcher in table.all.values().filter(|watcher| query.wants(watcher)) {
            page.counts.add(watcher);
            if watcher.id > query.cursor {
                match page.watchers.last() {
                    Some(last) if page.watchers.len() >= query.limit => {
                        page.next_cursor.get_or_insert_with(|| last.id.to_string());
                    }
                    _ => page.watchers.push(watcher.clone()),
                }
            }
        }
        page
    }
}

/// Which of them are wanted.
struct Query {
    limit: usize,
    cursor: u64,
    topic: Option<String>,
    event_type: Option<String>,
    device: Option<String>,
}

impl Query {
    fn wants(&self, watcher: &Watcher) -> bool {
        let names = |wanted: &Option<String>, has: &[String]| wanted.as_ref().is_none_or(|wanted| has.contains(wanted));
        names(&self.topic, &watcher.topics)
            && names(&self.event_type, &watcher.types)
            && names(&self.device, &watcher.devices)
    }
}

/// One page of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    watchers: Vec<Watcher>,
    next_cursor: Option<String>,
    counts: Counts,
    version: String,
}

/// How many there are, of those that the question is about.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    total: usize,
    transports: BTreeMap<Transport, usize>,
    modes: BTreeMap<&'static str, usize>,
}

impl Counts {
    fn add(&mut self, watcher: &Watcher) {
        self.total += 1;
        *self.transports.entry(watcher.transport).or_default() += 1;
        *self.modes.entry(watcher.mode).or_default() += 1;
    }
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Guaranteed => "guaranteed",
        Mode::BestEffort => "best-effort",
        Mode::Latest { .. } => "latest",
    }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros::saturating(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// `GET /api/watchers`
pub async fn list(State(context): State<Context>, uri: Uri) -> Result<Json<Page>, Problem> {
    let parameters = Parameters::of(&uri);
    let text = |name| parameters.one(name).map(|text| text.map(str::to_owned));
    let query = Query {
        limit: parameters.limit(limits::WATCHERS_PAGE, limits::MAXIMUM_WATCHERS_PAGE)?.into(),
        cursor: parameters.parse("cursor")?.unwrap_or_default(),
        topic: text("topic")?,
        event_type: text("type")?,
        device: text("device")?,
    };
    let wait = parameters.wait()?.unwrap_or_default();
    if let Some(version) = parameters.one("after")? {
        let watchers = &context.watchers;
        context.stop.run_until_cancelled(watchers.changed_since(version, wait)).await;
    }
    Ok(Json(context.watchers.page(&query)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(device: Option<&str>, limit: usize, cursor: u64) -> Query {
        Query { limit, cursor, topic: None, event_type: None, device: device.map(str::to_owned) }
    }

    #[test]
    fn whoever_watches_is_there_until_it_is_dropped_and_each_change_has_a_version() {
        let watchers = Arc::<Watchers>::default();
        let begin = watchers.page(&query(None, 9, 0)).version;
        let of = |device: &str| Filter { devices: vec![device.into()], ..Filter::default() };
        let who = Who { name: Some("anna".to_owned()), ..Who::default() };
        let first = watchers.enter(&who, Transport::Sse, Mode::Guaranteed, &of("a"));
        let second = watchers.enter(&who, Transport::Websocket, Mode::latest(4), &of("b"));
        let page = watchers.page(&query(None, 1, 0));
        assert_eq!((page.watchers.len(), page.next_cursor.as_deref(), page.counts.total), (1, Some("1"), 2));
        assert_ne!(page.version, begin);
        let rest = watchers.page(&query(None, 1, 1));
        assert_eq!((rest.watchers[0].id, rest.watchers[0].mode, rest.next_cursor), (2, "latest", None));
        assert_eq!(watchers.page(&query(Some("b"), 9, 0)).counts.total, 1);
        second.change(&of("a"));
        assert_eq!(watchers.page(&query(Some("a"), 9, 0)).counts.total, 2);
        drop(first);
        drop(second);
        assert_eq!(watchers.page(&query(None, 9, 0)).counts.total, 0);
    }
}
