//! A peer that speaks HTTP/2 by hand, so that a test can break off wherever it likes.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PREFACE: usize = 24;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame as it came in.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// One connection, seen from the peer.
pub struct Wire {
    stream: TcpStream,
    /// Whether pings are answered.
    pub awake: bool,
    /// Pings that came.
    pub pings: usize,
}

/// Listens, and runs the script on the first connection.
pub async fn peer<F: Future<Output = ()> + Send>(script: impl FnOnce(Wire) -> F + Send + 'static) -> SocketAddr {
    peer_with(&[], script).await
}

/// The same with settings.
pub async fn peer_with<F: Future<Output = ()> + Send>(
    settings: &[(u16, u32)],
    script: impl FnOnce(Wire) -> F + Send + 'static,
) -> SocketAddr {
    let (listener, address) = listen().await;
    let settings = settings.to_vec();
    tokio::spawn(async move {
        let wire = Wire::accept(&listener, &settings).await;
        // Who comes back finds no one, instead of waiting to be accepted.
        drop(listener);
        script(wire).await;
    });
    address
}

/// A socket that refuses connections, and that keeps its address from other tests until it is dropped. It can
/// listen later, and a server can listen at its address beside it.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Wire {
    pub async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.read_exact(&mut [0; PREFACE]).await.unwrap();
        let mut wire = Self { stream, awake: true, pings: 0 };
        let settings =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat());
        wire.write(SETTINGS, 0, 0, &settings.collect::<Vec<u8>>()).await;
        wire
    }

    /// The next frame that belongs to a stream; the others are answered. None where the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            self.pings += usize::from((kind, flags) == (PING, 0));
            match (kind, flags) {
                (SETTINGS, 0) => self.write(SETTINGS, ACK, 0, &[]).await,
                (PING, 0) if self.awake => self.write(PING, ACK, 0, &payload).await,
                (DATA | HEADERS | RST_STREAM, _) => {
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload });
                }
                _ => {}
            }
        }
    }

    /// Reads until the head of a request has come.
    pub async fn head(&mut self) -> u32 {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame.kind, HEADERS, "{frame:?}");
        frame.stream
    }

    /// Reads until a whole request has come.
    pub async fn request(&mut self) -> u32 {
        let stream = self.head().await;
        loop {
            let frame = self.frame().await.unwrap();
            assert_eq!((frame.kind, frame.stream), (DATA, stream), "{frame:?}");
            if frame.flags & END_STREAM != 0 {
                return stream;
            }
        }
    }

    /// Reads until the other side has gone.
    pub async fn linger(&mut self) {
        while self.frame().await.is_some() {}
    }

    pub async fn headers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.fields(stream, fields, END_HEADERS).await;
    }

    pub async fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.fields(stream, fields, END_HEADERS | END_STREAM).await;
    }

    /// The head of a response that is gRPC.
    pub async fn begin(&mut self, stream: u32) {
        self.headers(stream, &[(":status", "200"), ("content-type", "application/grpc")]).await;
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.write(DATA, 0, stream, bytes).await;
    }

    /// A message that is all of a response, and the status OK.
    pub async fn answer(&mut self, stream: u32, message: &[u8]) {
        self.begin(stream).await;
        self.data(stream, &framed(message)).await;
        self.trailers(stream, &[("grpc-status", "0")]).await;
    }

    pub async fn end(&mut self, stream: u32) {
        self.write(DATA, END_STREAM, stream, &[]).await;
    }

    pub async fn reset(&mut self, stream: u32, reason: u32) {
        self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Lets the other side send more on the stream.
    pub async fn window(&mut self, stream: u32, bytes: u32) {
        self.write(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await;
    }

    pub async fn go_away(&mut self, last: u32) {
        self.go_away_for(last, 0).await;
    }

    pub async fn go_away_for(&mut self, last: u32, reason: u32) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.to_be_bytes()].concat()).await;
    }

    /// Bytes that are no frame, or the part of one.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Ends the connection by a reset of TCP, without a word of HTTP.
    pub fn abort(self) {
        self.stream.set_zero_linger().unwrap();
    }

    async fn fields(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        let mut block = Vec::new();
        for (name, value) in fields {
            // HPACK: a literal without indexing, name and value as they are.
            block.push(0);
            for text in [name, value] {
                length(&mut block, text.len());
                block.extend(text.as_bytes());
            }
        }
        let mut frames = block.chunks(16_384).peekable();
        let mut kind = HEADERS;
        while let Some(part) = frames.next() {
            let last = if frames.peek().is_none() { flags } else { flags & !END_HEADERS };
            self.write(kind, if kind == HEADERS { last } else { last & END_HEADERS }, stream, part).await;
            kind = CONTINUATION;
        }
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [[a, b, c, kind, flags].as_slice(), &stream.to_be_bytes()].concat();
        // The other side may be gone already, which is what some tests are about.
        let _ = self.stream.write_all(&[&head, payload].concat()).await;
    }
}

/// An HPACK length with a prefix of seven bits.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else { return block.push(u8::try_from(length).unwrap()) };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The message with its prefix.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [[0].as_slice(), &length, message].concat()
}
