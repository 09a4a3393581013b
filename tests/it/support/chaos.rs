//! A TCP proxy that cuts and stalls on request. Its own address never changes, so it also stands
//! for a server that comes back at the same place.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::within;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// To the client.
    ToClient,
}

#[derive(Clone, Debug)]
struct State {
    target: SocketAddr,
    /// Connections of an earlier life are cut.
    life: u64,
    refusing: bool,
    stalled: bool,
    /// Bytes in a direction until everything is cut.
    fuse: Option<(Direction, usize)>,
    connections: u64,
}

/// The proxy; it ends with the test's runtime.
pub struct ChaosProxy {
    /// Where clients connect.
    pub address: SocketAddr,
    state: watch::Sender<State>,
}

impl ChaosProxy {
    /// A proxy to `target`, without any fault.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, _) =
            watch::channel(State { target, life: 0, refusing: false, stalled: false, fuse: None, connections: 0 });
        tokio::spawn(serve(listener, state.clone()));
        Self { address, state }
    }

    /// Sends new connections elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.state.send_modify(|state| state.target = target);
    }

    /// Cuts every connection, and refuses new ones.
    pub fn cut(&self) {
        self.state.send_modify(cut);
    }

    /// Cuts and refuses as soon as this many more bytes have passed in this direction.
    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.state.send_modify(|state| state.fuse = Some((direction, bytes)));
    }

    /// Waits until [`ChaosProxy::cut_after`] has done it.
    pub async fn is_cut(&self) {
        let mut state = self.state.subscribe();
        within("the cut", state.wait_for(|state| state.refusing)).await.unwrap();
    }

    /// Lets connections be, but carries no byte.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.stalled = true);
    }

    /// Ends every fault.
    pub fn restore(&self) {
        self.state.send_modify(|state| {
            state.refusing = false;
            state.stalled = false;
            state.fuse = None;
        });
    }

    /// Connections carried so far.
    pub fn connections(&self) -> u64 {
        self.state.borrow().connections
    }
}

fn cut(state: &mut State) {
    state.life += 1;
    state.refusing = true;
    state.fuse = None;
}

async fn serve(listener: TcpListener, state: watch::Sender<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let now = state.borrow().clone();
        if now.refusing {
            continue;
        }
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(now.target).await else { return };
            state.send_modify(|state| state.connections += 1);
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(carry(from_client, to_server, Direction::ToServer, now.life, state.clone()));
            carry(from_server, to_client, Direction::ToClient, now.life, state).await;
        });
    }
}

/// Carries bytes one way until either end closes or the connection's life is over. Dropping the
/// halves closes that way; the other way notices by itself.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    life: u64,
    state: watch::Sender<State>,
) {
    let mut watched = state.subscribe();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = watched.wait_for(|state| state.life != life) => return,
        };
        if read == 0 || watched.wait_for(|state| !state.stalled || state.life != life).await.is_err() {
            return;
        }
        if state.borrow().life != life {
            return;
        }
        let mut passed = read;
        state.send_if_modified(|state| match &mut state.fuse {
            Some((burning, left)) if *burning == direction && *left <= read => {
                passed = *left;
                cut(state);
                true
            }
            Some((burning, left)) if *burning == direction => {
                *left -= read;
                false
            }
            _ => false,
        });
        if to.write_all(&buffer[..passed]).await.is_err() || passed < read {
            return;
        }
    }
}

#[tokio::test]
async fn the_proxy_cuts_at_the_byte_and_comes_back() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = ChaosProxy::to(server.local_addr().unwrap()).await;

    proxy.cut_after(Direction::ToServer, 3);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let (mut accepted, _) = server.accept().await.unwrap();
    client.write_all(b"12345").await.unwrap();
    let mut seen = Vec::new();
    within("the end", accepted.read_to_end(&mut seen)).await.unwrap();
    assert_eq!(seen, b"123");
    proxy.is_cut().await;

    let mut refused = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(within("refusal", refused.read(&mut [0])).await.unwrap_or(0), 0);

    proxy.restore();
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let (mut accepted, _) = server.accept().await.unwrap();
    client.write_all(b"6").await.unwrap();
    assert_eq!(within("a byte", accepted.read_u8()).await.unwrap(), b'6');
    assert_eq!(proxy.connections(), 2);
}
