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

/// Where a COMMIT is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitCut {
    /// Before the server has any of it: nothing is committed.
    Before,
    /// In its middle: nothing is committed.
    Within,
    /// Between it and its answer: it is committed, and the client cannot know.
    After,
}

/// A simple query (PostgreSQL manual, "Message Formats").
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What makes it cut.
#[derive(Clone, Copy, Debug)]
enum Fuse {
    /// So many more bytes in a direction.
    Bytes(Direction, usize),
    /// The next COMMIT, which clients send in one piece.
    Commit(CommitCut),
    /// The next answer on a connection.
    Answer(u64),
}

#[derive(Clone, Debug)]
struct State {
    target: SocketAddr,
    /// Connections of an earlier life are cut.
    life: u64,
    refusing: bool,
    stalled: bool,
    fuse: Option<Fuse>,
    connections: u64,
}

impl State {
    /// Cuts if these bytes are where it is to be done; returns how many of them may still pass then.
    fn burn(&mut self, connection: u64, direction: Direction, bytes: &[u8]) -> Option<usize> {
        let end = match &mut self.fuse {
            Some(Fuse::Bytes(burning, left)) if *burning == direction => {
                if *left > bytes.len() {
                    *left -= bytes.len();
                    return None;
                }
                *left
            }
            Some(Fuse::Commit(place)) if direction == Direction::ToServer => {
                let start = bytes.windows(COMMIT.len()).position(|window| window == COMMIT)?;
                match place {
                    CommitCut::Before => start,
                    CommitCut::Within => start + COMMIT.len() / 2,
                    CommitCut::After => {
                        self.fuse = Some(Fuse::Answer(connection));
                        return None;
                    }
                }
            }
            Some(Fuse::Answer(awaited)) if direction == Direction::ToClient && *awaited == connection => 0,
            _ => return None,
        };
        self.cut();
        Some(end)
    }

    fn cut(&mut self) {
        self.life += 1;
        self.refusing = true;
        self.fuse = None;
    }
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
        self.state.send_modify(State::cut);
    }

    /// Cuts and refuses as soon as this many more bytes have passed in this direction.
    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.state.send_modify(|state| state.fuse = Some(Fuse::Bytes(direction, bytes)));
    }

    /// Cuts and refuses at the next COMMIT.
    pub fn cut_at_commit(&self, place: CommitCut) {
        self.state.send_modify(|state| state.fuse = Some(Fuse::Commit(place)));
    }

    /// Waits until one of these has done it.
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

async fn serve(listener: TcpListener, state: watch::Sender<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let now = state.borrow().clone();
        if now.refusing {
            continue;
        }
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(now.target).await else { return };
            let mut connection = 0;
            state.send_modify(|state| {
                state.connections += 1;
                connection = state.connections;
            });
            let way = |direction| Way { connection, direction, life: now.life, state: state.clone() };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(way(Direction::ToServer).carry(from_client, to_server));
            way(Direction::ToClient).carry(from_server, to_client).await;
        });
    }
}

/// One way of one connection.
struct Way {
    connection: u64,
    direction: Direction,
    life: u64,
    state: watch::Sender<State>,
}

impl Way {
    /// Carries bytes until either end closes or the connection's life is over. Dropping the halves closes
    /// this way; the other way notices by itself.
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let Self { connection, direction, life, state } = self;
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
            let mut end = None;
            state.send_if_modified(|state| {
                end = state.burn(connection, direction, &buffer[..read]);
                end.is_some()
            });
            if to.write_all(&buffer[..end.unwrap_or(read)]).await.is_err() || end.is_some() {
                return;
            }
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

#[tokio::test]
async fn the_proxy_cuts_on_either_side_of_a_commit() {
    for (place, passed) in [(CommitCut::Before, 4), (CommitCut::Within, 10), (CommitCut::After, 16)] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = ChaosProxy::to(server.local_addr().unwrap()).await;
        proxy.cut_at_commit(place);
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let (mut accepted, _) = server.accept().await.unwrap();
        client.write_all(&[b"COPY", COMMIT].concat()).await.unwrap();
        let mut seen = vec![0; passed];
        within("what passes", accepted.read_exact(&mut seen)).await.unwrap();
        assert_eq!(seen, [b"COPY", COMMIT].concat()[..passed]);
        if place == CommitCut::After {
            accepted.write_all(b"C").await.unwrap();
        }
        proxy.is_cut().await;
        assert_eq!(within("the client's end", client.read(&mut [0])).await.unwrap_or(0), 0, "{place:?}");
        assert_eq!(within("the server's end", accepted.read(&mut [0])).await.unwrap_or(0), 0, "{place:?}");
    }
}
