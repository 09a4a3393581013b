//! Between journal and window no event is repeated and none is lost.

use proptest::prelude::*;

use super::*;

/// What one client of the hand-over test does.
#[derive(Clone, Debug)]
struct Plan {
    resume: usize,
    joins: usize,
    /// Bodies between two pauses; a pause lasts until the journal has grown.
    patience: usize,
    filtered: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    (0..400_usize, 0..400_usize, 1..20_usize, any::<bool>()).prop_map(|(resume, joins, patience, filtered)| Plan {
        resume,
        joins,
        patience,
        filtered,
    })
}

async fn follow(plan: Plan, journal: Journal, streams: Streams, mut appended: watch::Receiver<Vec<Sequence>>) {
    const TOTAL: usize = 400;
    let (resume, joins) = (plan.resume.min(plan.joins), plan.joins);
    appended.wait_for(|sequences| sequences.len() >= joins).await.unwrap();
    let from = resume.checked_sub(1).map_or(Sequence::ZERO, |at| appended.borrow()[at]);
    let filter = match plan.filtered {
        true => Filter { devices: vec!["d1".into()], ..Filter::default() },
        false => Filter::default(),
    };
    let stop = CancellationToken::new();
    let (_, mut stream) = open(&streams, filter, after(&journal, from), &stop).await;
    // Every tenth message is not streamed, and every fifth is of device d1; the last one is.
    let is_wanted = |n: &usize| n % 10 != 9 && (!plan.filtered || n % 5 == 1);
    let expected = |sequences: &[Sequence]| {
        let wanted = (resume..TOTAL).filter(is_wanted);
        events(wanted.filter_map(|n| sequences.get(n).copied()))
    };
    let count = (resume..TOTAL).filter(is_wanted).count();
    let (mut seen, mut bodies) = (Vec::new(), 0);
    while seen.len() < count {
        seen.extend(blocks(&stream.next().await.unwrap()));
        bodies += 1;
        if bodies % plan.patience == 0 {
            let now = appended.borrow_and_update().len();
            appended.wait_for(|sequences| sequences.len() >= TOTAL.min(now + 60)).await.unwrap();
        }
    }
    appended.wait_for(|sequences| sequences.len() == TOTAL).await.unwrap();
    assert_eq!(seen, expected(&appended.borrow()), "{plan:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_client_sees_every_event_once(
        plans in prop::collection::vec(plan(), 1..24),
        window in prop::sample::select(vec![0, 2_000, 20_000, 1_000_000]),
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let journal = open_journal(directory.path());
            let (streams, stop) = start(&journal, window);
            let (progress, _) = watch::channel(Vec::new());
            let clients: Vec<_> = plans
                .into_iter()
                .map(|plan| tokio::spawn(follow(plan, journal.clone(), streams.clone(), progress.subscribe())))
                .collect();
            let mut random = seed;
            for n in 0..400_usize {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let topic = if n % 10 == 9 { "hidden/d0/t".into() } else { format!("devices/d{}/t", n % 5) };
                let payload = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat((random >> 55) as usize));
                let qos = if random >> 63 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let batch = publish(&journal, &topic, &payload, qos).await;
                progress.send_modify(|sequences| sequences.push(batch.last()));
            }
            for client in clients {
                client.await.unwrap();
            }
            stop.cancel();
            journal.close();
        });
    }
}
