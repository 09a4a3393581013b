//! The same over WebSocket: bytes that are frames themselves, or that are framed piece by piece.

#![no_main]

use std::future::ready;

use libfuzzer_sys::fuzz_target;
use synap_mqtt::websocket::WebSocket;
use synap_mqtt_fuzz::{
    answers,
    broker::{Served, served},
    frames::{frame, unframe},
    input::{Input, Opening, Order, Terms},
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
    let mut pieces = Vec::new();
    if !connect.is_empty() {
        pieces.push(frame(&connect));
    }
    if input.are_frames {
        pieces.extend(bytes.chunks(input.piece).map(<[u8]>::to_vec));
    } else {
        pieces.extend(bytes.chunks(input.piece).map(frame));
    }
    let early = if input.is_early && !pieces.is_empty() { pieces.remove(0) } else { Vec::new() };
    let before_end = async {
        if input.waits {
            served.settle().await;
        }
        before_end.await;
    };
    let link = |stream| WebSocket::new(stream, early.into());
    let received = unframe(&served.converse(link, pieces.iter().map(Vec::as_slice), before_end).await);
    match (input.are_frames, input.opening) {
        // Whether a CONNECT is in them only the decoder knows, which is what is tested.
        (true, Opening::None) => answers::check_unknown(&received),
        (true, _) => answers::check(&received, Terms::of(&connect)),
        (false, _) => answers::check(&received, Terms::of(&[&connect, bytes].concat())),
    }
}
