//! Anything that may go wrong between a device and the table, again and again, in an order by chance: what
//! was acknowledged is in the database once and in each publisher's order, and so are its numbers, what
//! its route refuses, and in the stream the rows of another writer.
//!
//! `SYNAP_TEST_ROUNDS` sets the number of rounds, `SYNAP_TEST_SEED` repeats a run's choices:
//!
//!     SYNAP_TEST_ROUNDS=300 NEXTEST_PROFILE=long scripts/test exactly_once::
//!
//! Where the journal is set back, what it has forgotten can only be compared before; so a new generation of
//! publishers begins there, and the rows of all older ones are compared once more at the end.

mod books;
mod cluster;
mod disk;
mod other_writer;
mod plan;

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use sqlx::{Connection, PgConnection};

use self::{
    books::{Beginning, REFUSED, check, fingerprint},
    cluster::{Cluster, Death},
    other_writer::OtherWriter,
    plan::{Fault, ROUNDS, plan},
};
use crate::{
    crash::{Publisher, finish, rounds, run},
    support::{
        Random,
        bridge::{Bridge, Setup},
        chaos::{ChaosProxy, Direction},
        eventually,
        raw_mqtt::Version,
        scratch,
    },
};

/// What each publisher does per second at most, so that rounds take their time from faults and not from reading
/// what they have left.
const PACE: Duration = Duration::from_millis(3);

/// Most acknowledgements that come before a fault: a second or two of load.
const ACKNOWLEDGEMENTS: u64 = 800;

/// Longest pause of a fault, in milliseconds.
const PAUSE: u64 = 400;

/// What may complain of a database that is away: the bridge's own words, and those of its client library.
const OUTAGES: &[&str] = &["timescale", "sqlx"];

struct Scene {
    random: Random,
    cluster: Cluster,
    proxy: ChaosProxy,
    bridge: Bridge,
    publishers: Vec<Publisher>,
    others: OtherWriter,
    beginning: Beginning,
    /// Names of the publishers that are gone, with what the database has of them.
    past: Vec<(Vec<String>, String)>,
    publications: usize,
    /// Complaints of bridges that have ended.
    complaints: Vec<String>,
}

impl Scene {
    async fn create(random: Random, files: &std::path::Path) -> Self {
        let cluster = Cluster::create().await;
        let proxy = ChaosProxy::to(cluster.address()).await;
        let schema = files.join("schema.json");
        let refusal = format!("{{\"properties\":{{\"number\":{{\"not\":{{\"multipleOf\":{REFUSED}}}}}}}}}");
        std::fs::write(&schema, refusal).unwrap();
        let route = format!(
            "[[route]]\ntopic = \"crash/{{device}}\"\ntype = \"devices.telemetry.received\"\nsubject = \"{{device}}\"\n\
             store = \"both\"\nmetrics = [\"/number\"]\nschema = {schema:?}"
        );
        let setup = Setup::default().config(&route).timescale(&Cluster::url_at(proxy.address));
        let bridge = setup.start().await;
        let others = OtherWriter::default();
        let beginning = Beginning::now(&bridge, &others).await;
        let (publishers, past, complaints) = (generation(0), Vec::new(), Vec::new());
        Self { random, cluster, proxy, bridge, publishers, others, beginning, past, publications: 0, complaints }
    }

    /// One fault under load. Whatever it does, everything works afterwards.
    async fn round(&mut self, fault: Fault) {
        if fault == Fault::JournalSetBack {
            return self.set_journal_back().await;
        }
        let Self { random, cluster, proxy, bridge, publishers, others, complaints, .. } = self;
        let (more, progress, address) = (AtomicBool::new(true), AtomicU64::new(0), bridge.addresses.mqtt);
        let server = cluster.options();
        let trouble = async {
            after(&progress, random.between(50, ACKNOWLEDGEMENTS)).await;
            strike(fault, Place { random, cluster, proxy, bridge, others, complaints }).await;
            more.store(false, Ordering::Relaxed);
        };
        tokio::join!(run(publishers, address, &more, &progress), others.run(&server, &more), trouble);
        if self.bridge.process.has_ended() {
            self.bridge.restart().await;
        }
        self.works().await;
    }

    /// Puts an older copy of the bridge's data directory in its place, once all is known to be in the database.
    async fn set_journal_back(&mut self) {
        finish(&mut self.publishers, self.bridge.addresses.mqtt).await;
        self.end_bridge();
        let copy = self.bridge.data_dir().with_extension("copy");
        copy_directory(self.bridge.data_dir(), &copy);
        self.bridge.restart().await;
        self.works().await;
        self.load().await;
        self.check().await;
        self.end_bridge();
        copy_directory(&copy, &self.bridge.data_dir().to_owned());
        std::fs::remove_dir_all(&copy).unwrap();
        self.bridge.restart().await;
        self.bridge.complaint(0, "restored from an older copy").await;
        self.works().await;
        self.beginning = Beginning::now(&self.bridge, &self.others).await;
        self.publishers = generation(self.past.len());
    }

    /// Load without a fault, for a while.
    async fn load(&mut self) {
        let Self { random, cluster, bridge, publishers, others, .. } = self;
        let (more, progress, address) = (AtomicBool::new(true), AtomicU64::new(0), bridge.addresses.mqtt);
        let server = cluster.options();
        let end = async {
            after(&progress, random.between(50, ACKNOWLEDGEMENTS)).await;
            more.store(false, Ordering::Relaxed);
        };
        tokio::join!(run(publishers, address, &more, &progress), others.run(&server, &more), end);
    }

    /// Compares all that this generation of publishers knows.
    async fn check(&mut self) {
        finish(&mut self.publishers, self.bridge.addresses.mqtt).await;
        let mut session = self.cluster.session().await;
        self.publications += check(&self.bridge, &mut session, &self.publishers, &self.others, &self.beginning).await;
        eprintln!("{} publications and {} rows of another writer so far", self.publications, self.others.next());
        let names: Vec<_> = self.publishers.iter().map(|publisher| publisher.name().to_owned()).collect();
        let rows = fingerprint(&mut session, &names).await;
        self.past.push((names, rows));
    }

    /// Compares what the database has of all generations with what it had of each at its end.
    async fn check_past(&self, session: &mut PgConnection) {
        for (names, rows) in &self.past {
            assert_eq!(&fingerprint(session, names).await, rows, "rows of {names:?} have changed");
        }
    }

    fn end_bridge(&mut self) {
        end(&mut self.bridge, &mut self.complaints);
    }

    async fn works(&self) {
        wait_for(&self.bridge, "ready").await;
    }
}

/// What a fault may touch.
struct Place<'a> {
    random: &'a mut Random,
    cluster: &'a mut Cluster,
    proxy: &'a ChaosProxy,
    bridge: &'a mut Bridge,
    others: &'a OtherWriter,
    complaints: &'a mut Vec<String>,
}

async fn strike(fault: Fault, place: Place<'_>) {
    let Place { random, cluster, proxy, bridge, others, complaints } = place;
    match fault {
        Fault::BridgeDies => end(bridge, complaints),
        Fault::ServerDies(death) => {
            cluster.die(death).await;
            pause(random).await;
            cluster.start().await;
        }
        Fault::BothDie => {
            cluster.die(Death::All).await;
            end(bridge, complaints);
            pause(random).await;
            cluster.start().await;
        }
        Fault::CutInCopy => {
            proxy.cut_after(Direction::ToServer, usize::try_from(random.between(1, 400_000)).unwrap());
            cut(random, proxy).await;
        }
        Fault::CutAtCommit(at) => {
            proxy.cut_at_commit(at);
            cut(random, proxy).await;
        }
        Fault::Stall => {
            proxy.stall();
            pause(random).await;
            proxy.cut();
            cut(random, proxy).await;
        }
        Fault::BackendsTerminated => {
            for _ in 0..random.between(1, 5) {
                cluster.terminate_backends().await;
                pause(random).await;
            }
        }
        Fault::DiskFull => {
            cluster.fill_disk();
            wait_for(bridge, "degraded").await;
            pause(random).await;
            cluster.free_disk().await;
        }
        Fault::ServerSetBack | Fault::ServerSetBackUnseen => {
            let first = others.answered();
            let copy = cluster.back_up().await;
            moves_on(cluster, 2).await;
            let known = bridge.complaints().len();
            cluster.die(Death::All).await;
            if fault == Fault::ServerSetBackUnseen {
                end(bridge, complaints);
            }
            others.set_back(first);
            cluster.restore(&copy);
            cluster.start().await;
            if fault == Fault::ServerSetBack {
                bridge.complaint(known, "the database has gone back").await;
            }
        }
        Fault::JournalSetBack => unreachable!("it is a round of its own"),
    }
    if !bridge.process.has_ended() {
        wait_for(bridge, "ready").await;
    }
}

/// Lets the proxy serve again some time after it has cut.
async fn cut(random: &mut Random, proxy: &ChaosProxy) {
    proxy.is_cut().await;
    pause(random).await;
    proxy.restore();
}

/// Waits until the writer has stored so many more batches.
async fn moves_on(cluster: &Cluster, times: usize) {
    let mut session = cluster.session().await;
    let mut seen = Vec::new();
    eventually("the writer stores more", async || {
        let cursor: i64 =
            sqlx::query_scalar("select sequence from mqtt.writer_cursor").fetch_one(&mut session).await.unwrap();
        if !seen.contains(&cursor) {
            seen.push(cursor);
        }
        (seen.len() > times).then_some(())
    })
    .await;
}

async fn pause(random: &mut Random) {
    tokio::time::sleep(Duration::from_millis(random.between(0, PAUSE))).await;
}

async fn after(progress: &AtomicU64, acknowledgements: u64) {
    let enough = async || (progress.load(Ordering::Relaxed) >= acknowledgements).then_some(());
    eventually("acknowledgements", enough).await;
}

/// Kills the bridge, and keeps what it has complained of.
fn end(bridge: &mut Bridge, complaints: &mut Vec<String>) {
    bridge.kill9();
    complaints.extend(bridge.complaints());
}

async fn wait_for(bridge: &Bridge, wanted: &str) {
    let state = async || {
        let health: serde_json::Value = reqwest::get(bridge.url("/readyz")).await.ok()?.json().await.ok()?;
        (health["components"]["timescale"]["state"] == wanted).then_some(())
    };
    eventually(&format!("timescale {wanted}"), state).await;
}

/// New publishers: of both versions, with QoS 1 and 2.
fn generation(number: usize) -> Vec<Publisher> {
    let kinds = [(1, Version::V4), (1, Version::V5), (2, Version::V4), (2, Version::V5)];
    kinds.into_iter().map(|(qos, version)| Publisher::new(qos, version, number).paced(PACE)).collect()
}

fn copy_directory(from: &std::path::Path, to: &PathBuf) {
    let _none = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_nothing_acknowledged_is_lost_or_there_twice() {
    let mut random = Random::new();
    let faults = plan(&mut random, rounds(ROUNDS));
    let files = scratch();
    let mut scene = Scene::create(random, files.path()).await;
    for (round, fault) in (1..).zip(&faults) {
        eprintln!("round {round} of {}: {fault:?}", faults.len());
        scene.round(*fault).await;
    }
    scene.check().await;
    let mut session = scene.cluster.session().await;
    scene.check_past(&mut session).await;
    session.close().await.unwrap();
    scene.bridge.finish(OUTAGES).await;
    let is_unexpected = |line: &&String| !OUTAGES.iter().any(|part| line.contains(part));
    let unexpected: Vec<_> = scene.complaints.iter().filter(is_unexpected).collect();
    assert!(unexpected.is_empty(), "unlisted warnings or errors: {unexpected:#?}");
}
