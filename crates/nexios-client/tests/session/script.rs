//! A server that does what a test says.

use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};
use tokio::task::block_in_place;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::{Message, WebSocket};

pub(crate) const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// A position in the epoch `a`.
pub(crate) fn at(offset: u64) -> String {
    format!("a-{offset}-{NONCE}")
}

pub(crate) struct Server {
    listener: TcpListener,
    subprotocol: Option<&'static str>,
}

/// One connection of a client.
pub(crate) struct Peer(WebSocket<TcpStream>);

impl Server {
    pub(crate) fn start() -> Self {
        Server { listener: TcpListener::bind("127.0.0.1:0").unwrap(), subprotocol: Some("nexios.v1") }
    }

    /// One that does not speak `nexios.v1`.
    pub(crate) fn plain() -> Self {
        Server { subprotocol: None, ..Server::start() }
    }

    pub(crate) fn url(&self) -> String {
        let address: SocketAddr = self.listener.local_addr().unwrap();
        format!("ws://{address}/live")
    }

    /// The next connection, and what its `hello` says of rooms.
    pub(crate) fn welcome(&self) -> (Peer, Value) {
        let mut peer = self.accept();
        let (hello, _) = peer.receive();
        assert_eq!(hello["type"], "hello");
        peer.send(json!({"type": "welcome", "id": "0", "retry_ms": [0, 10]}), "");
        (peer, hello["rooms"].clone())
    }

    pub(crate) fn accept(&self) -> Peer {
        let (stream, _) = block_in_place(|| self.listener.accept()).unwrap();
        #[expect(clippy::result_large_err, reason = "tungstenite wants it so")]
        let answer = |_: &Request, mut response: Response| {
            if let Some(subprotocol) = self.subprotocol {
                response.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
            }
            Ok(response)
        };
        Peer(block_in_place(|| tungstenite::accept_hdr(stream, answer).unwrap()))
    }
}

impl Peer {
    pub(crate) fn send(&mut self, header: Value, payload: &str) {
        self.send_text(&format!("\u{1e}{header}\n{payload}"));
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// A message to a room that remembers.
    pub(crate) fn entry(&mut self, offset: u64, payload: &str) {
        self.send(json!({"type": "message", "room": "x", "offset": offset, "nonce": NONCE}), payload);
    }

    pub(crate) fn joined(&mut self, position: &str, recovered: bool) {
        self.send(json!({"type": "joined", "room": "x", "position": position, "recovered": recovered}), "");
    }

    /// The next frame: its header and payload.
    pub(crate) fn receive(&mut self) -> (Value, String) {
        let text = self.text();
        let (header, payload) = text.strip_prefix('\u{1e}').expect("a frame").split_once('\n').unwrap();
        (serde_json::from_str(header).unwrap(), payload.to_owned())
    }

    pub(crate) fn text(&mut self) -> String {
        loop {
            if let Message::Text(text) = block_in_place(|| self.0.read()).unwrap() {
                return text.to_string();
            }
        }
    }

    /// Waits for the client's goodbye, and returns its code.
    pub(crate) fn until_closed(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = block_in_place(|| self.0.read()).unwrap() {
                // It answers.
                while block_in_place(|| self.0.read()).is_ok() {}
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    /// Ends the connection with a code; the client answers.
    pub(crate) fn close(mut self, code: u16) {
        self.0.close(Some(CloseFrame { code: code.into(), reason: "so it is".into() })).unwrap();
        while block_in_place(|| self.0.read()).is_ok() {}
    }
}
