//! One broker on a real journal, small in all its limits so that short inputs reach them.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use parking_lot::Mutex;
use synap_mqtt::{
    auth::Admission,
    journal::{Journal, JournalOptions, LogOptions, StateStore, Watermark},
    mqtt::{Broker, Dispatcher, Door, MailboxLimits, Profile, RetainedLimits, Settings, Terms},
    types::{DeviceClients, Peer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    runtime::{Builder, Runtime},
    task::yield_now,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Largest packet that the broker takes.
pub const MAXIMUM_PACKET_SIZE: u32 = 1024;

/// Bytes that are on their way in each direction: little, so that both sides run into it.
const PIPE_BYTES: usize = 512;

/// Time for everything that an input starts to end. Only a connection that hangs takes so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Turns that the dispatcher and the connections get to deliver what is durable.
const TURNS: usize = 32;

/// See the module.
pub struct Served {
    runtime: Mutex<Runtime>,
    journal: Journal,
    door: Door,
    _home: TempDir,
}

static SERVED: LazyLock<Served> = LazyLock::new(Served::start);

/// The broker of this process.
pub fn served() -> &'static Served {
    &SERVED
}

impl Served {
    fn start() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let log = LogOptions { segment_bytes: 1 << 20, retain_bytes: 4 << 20, ..LogOptions::default() };
        let options =
            JournalOptions { log, sync_interval: Duration::from_millis(1), ..JournalOptions::within(16 << 20) };
        let (journal, _) = Journal::open(&home.path().join("journal"), options).expect("an empty journal opens");
        let store = StateStore::open(&home.path().join("state"), journal.id(), 1 << 20).expect("an empty store opens");
        let settings = settings();
        let terms = Terms::new(settings.profile.clone(), None);
        let broker = Broker::new(journal.clone(), settings, Box::new(|topic| topic.starts_with('g')));
        let dispatcher = Dispatcher::restore(&broker, Arc::new(store)).expect("nothing is restored");
        journal.start_retention();
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.spawn(dispatcher.run(CancellationToken::new()));
        let door = Door::new(broker, terms, Admission::Open);
        Self { runtime: Mutex::new(runtime), journal, door, _home: home }
    }

    /// Runs what one input starts to its end.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let limited = async { timeout(DEADLINE, work).await.expect("every connection ends after its client has gone") };
        self.runtime.lock().block_on(limited)
    }

    /// Is a client: sends `pieces`, waits for `before_end`, hangs up. Returns what it received.
    pub async fn converse<'a, S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: impl FnOnce(DuplexStream) -> S,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        before_end: impl Future<Output = ()>,
    ) -> Vec<u8> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let serving = self.door.serve(link(theirs), Peer::Network(SocketAddr::from(([127, 0, 0, 1], 1883))));
        let (mut incoming, mut outgoing) = tokio::io::split(ours);
        let sending = async {
            for piece in pieces {
                // The broker may have ended the connection.
                if outgoing.write_all(piece).await.is_err() {
                    break;
                }
                yield_now().await;
            }
            before_end.await;
            drop(outgoing.shutdown().await);
        };
        let mut received = Vec::new();
        let receiving = async {
            incoming.read_to_end(&mut received).await.expect("a pipe does not fail");
        };
        let (serving, sending, receiving) = (pin!(serving), pin!(sending), pin!(receiving));
        tokio::join!(serving, sending, receiving);
        received
    }

    /// Waits until what was published so far is durable, and gives everyone turns to deliver it.
    pub async fn settle(&self) {
        yield_now().await;
        let appended = self.journal.watermark(Watermark::Appended);
        let mut durable = self.journal.watch(Watermark::Durable);
        durable.wait_for(|durable| *durable >= appended).await.expect("the journal is open");
        for _ in 0..TURNS {
            yield_now().await;
        }
    }
}

fn settings() -> Settings {
    let mailbox = MailboxLimits { messages: 8, bytes: 8 << 10, best_effort: 4 };
    Settings {
        profile: Profile {
            maximum_packet_size: MAXIMUM_PACKET_SIZE,
            receive_maximum: 4,
            topic_alias_maximum: 4,
            mailbox,
            ..Profile::default()
        },
        maximum_session_expiry: 1,
        maximum_subscriptions: 8,
        retained: RetainedLimits { messages: 16, bytes: 16 << 10 },
        devices: DeviceClients { devices: vec!["*".parse().expect("a pattern")], except: Vec::new() },
        ..Settings::default()
    }
}
