//! Packets, or what looks like them, through a whole connection: from the first byte to the last, in both versions,
//! before and after CONNECT, with a session that is resumed or taken over.

#![no_main]

use std::future::ready;

use libfuzzer_sys::fuzz_target;
use synap_mqtt_fuzz::{
    answers,
    broker::{Served, served},
    input::{Input, Order, Terms},
};

fuzz_target!(|data: &[u8]| {
    if let Some(input) = Input::new(data) {
        let served = served();
        served.run(converse(served, &input));
    }
});

async fn converse(served: &Served, input: &Input<'_>) {
    let [first, second] = input.halves;
    match input.order {
        Order::One => connection(served, input, first, ready(())).await,
        Order::Resumed => {
            connection(served, input, first, ready(())).await;
            connection(served, input, second, ready(())).await;
        }
        Order::TakenOver => connection(served, input, first, connection(served, input, second, ready(()))).await,
    }
}

async fn connection(served: &Served, input: &Input<'_>, bytes: &[u8], before_end: impl Future<Output = ()>) {
    let connect = input.connect();
    let sent = [&connect, bytes].concat();
    let before_end = async {
        if input.waits {
            served.settle().await;
        }
        before_end.await;
    };
    let received = served.converse(|stream| stream, sent.chunks(input.piece), before_end).await;
    answers::check(&received, Terms::of(&sent));
}
