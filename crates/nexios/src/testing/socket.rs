//! A client's WebSocket, with the wire's truth.

use nexios_engine::MemoryClient;
use nexios_engine::protocol::{
    self, CloseCode, CloseFrame, Codec, Connection, ControlTooLong, HandshakeResponse, Limits, NO_STATUS, OpCode, Role,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{TestClient, TestError};

/// What a server has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping; it has been answered.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close frame; it has been answered. 1005 stands for one without a code.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// The end of the stream.
    End,
}

/// An open WebSocket in memory. Dropping it hangs up without a Close frame.
pub struct TestSocket {
    client: TestClient,
    pipe: MemoryClient,
    response: HandshakeResponse,
    protocol: Connection,
    codec: Codec,
    /// Read, but not decoded.
    unread: Vec<u8>,
    answers: bool,
}

impl TestSocket {
    pub(super) fn new(client: TestClient, pipe: MemoryClient, response: HandshakeResponse, unread: Vec<u8>) -> Self {
        let protocol = Connection::new(Role::Client, response.deflate);
        TestSocket { client, pipe, response, protocol, codec: Codec::new(), unread, answers: true }
    }

    /// The subprotocol that the server picked.
    pub fn subprotocol(&self) -> Option<&str> {
        self.response.subprotocol.as_deref()
    }

    /// The header fields of the server's 101.
    pub fn headers(&self) -> &[(String, String)] {
        &self.response.headers
    }

    /// Whether compression was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.response.deflate.is_some()
    }

    /// Leaves pings and Close frames unanswered from now on, as a client that hangs.
    pub fn stop_answering(&mut self) {
        self.answers = false;
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: impl AsRef<str>) {
        self.write(|protocol, out| protocol.send_message(out, OpCode::Text, text.as_ref().as_bytes()));
    }

    /// Sends a binary message.
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.write(|protocol, out| protocol.send_message(out, OpCode::Binary, bytes.as_ref()));
    }

    /// Sends a value as JSON text.
    ///
    /// # Errors
    /// [`TestError::Json`], where it cannot be written as JSON.
    pub fn send_json(&mut self, value: &impl Serialize) -> Result<(), TestError> {
        let text = serde_json::to_string(value)?;
        self.send_text(text);
        Ok(())
    }

    /// Sends a text message in fragments.
    pub fn send_fragments(&mut self, parts: &[&str]) {
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { OpCode::Text } else { OpCode::Continuation };
            let fin = index + 1 == parts.len();
            self.write(|protocol, out| protocol.send_fragment(out, opcode, fin, part.as_bytes()));
        }
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// [`ControlTooLong`] over 125 bytes.
    pub fn send_ping(&mut self, payload: &[u8]) -> Result<(), ControlTooLong> {
        let mut out = Vec::new();
        self.protocol.send_ping(&mut out, payload)?;
        self.pipe.write(&out);
        Ok(())
    }

    /// Sends an unasked pong.
    ///
    /// # Errors
    /// [`ControlTooLong`] over 125 bytes.
    pub fn send_pong(&mut self, payload: &[u8]) -> Result<(), ControlTooLong> {
        let mut out = Vec::new();
        self.protocol.send_pong(&mut out, payload)?;
        self.pipe.write(&out);
        Ok(())
    }

    /// Sends bytes as they are, whatever they mean.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.pipe.write(bytes);
    }

    /// Sends a Close frame; the server's answer is still to be received.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.write(|protocol, out| protocol.send_close(out, Some(CloseFrame { code, reason })));
    }

    /// Hangs up without a Close frame (FIN).
    pub fn hang_up(&mut self) {
        self.pipe.shutdown();
    }

    /// Kills the connection (RST).
    pub fn reset(&mut self) {
        self.pipe.reset();
    }

    /// Pulls the cable: nothing arrives any more on either side, and nobody is told.
    pub fn cut(&mut self) {
        self.pipe.cut();
    }

    /// The next thing that the server has sent.
    ///
    /// # Errors
    /// [`TestError::Timeout`], a frame that breaks RFC 6455, or a reset.
    pub async fn receive(&mut self) -> Result<Received, TestError> {
        loop {
            while !self.unread.is_empty() {
                if let Some(received) = self.decode()? {
                    return Ok(received);
                }
            }
            let pipe = &self.pipe;
            let bytes = self.client.until(|cx| pipe.poll_read(cx, usize::MAX)).await??;
            if bytes.is_empty() {
                return Ok(Received::End);
            }
            self.unread = bytes;
        }
    }

    /// The next data message or Close frame; pings and pongs are passed over.
    async fn receive_data(&mut self) -> Result<Received, TestError> {
        loop {
            match self.receive().await? {
                Received::Ping(_) | Received::Pong(_) => {}
                received => return Ok(received),
            }
        }
    }

    /// The next message, which has to be text.
    ///
    /// # Errors
    /// [`TestError::Unexpected`] for anything else, and what [`receive`](Self::receive) gives.
    pub async fn receive_text(&mut self) -> Result<String, TestError> {
        match self.receive_data().await? {
            Received::Text(text) => Ok(text),
            got => Err(TestError::Unexpected { expected: "text", got }),
        }
    }

    /// The next message, which has to be binary.
    ///
    /// # Errors
    /// [`TestError::Unexpected`] for anything else, and what [`receive`](Self::receive) gives.
    pub async fn receive_bytes(&mut self) -> Result<Vec<u8>, TestError> {
        match self.receive_data().await? {
            Received::Binary(bytes) => Ok(bytes),
            got => Err(TestError::Unexpected { expected: "bytes", got }),
        }
    }

    /// The next message, read as JSON.
    ///
    /// # Errors
    /// [`TestError::Json`], and as for [`receive_text`](Self::receive_text).
    pub async fn receive_json<T: DeserializeOwned>(&mut self) -> Result<T, TestError> {
        match self.receive_data().await? {
            Received::Text(text) => Ok(serde_json::from_str(&text)?),
            Received::Binary(bytes) => Ok(serde_json::from_slice(&bytes)?),
            got => Err(TestError::Unexpected { expected: "JSON", got }),
        }
    }

    /// The next pong's payload; data messages before it are thrown away.
    ///
    /// # Errors
    /// [`TestError::Unexpected`] where the connection ends first, and what [`receive`](Self::receive) gives.
    pub async fn receive_pong(&mut self) -> Result<Vec<u8>, TestError> {
        loop {
            match self.receive().await? {
                Received::Pong(payload) => return Ok(payload),
                got @ (Received::Close { .. } | Received::End) => {
                    return Err(TestError::Unexpected { expected: "a pong", got });
                }
                _ => {}
            }
        }
    }

    /// The code and reason of the Close frame, which has to come next.
    ///
    /// # Errors
    /// [`TestError::Unexpected`] for anything else, and what [`receive`](Self::receive) gives.
    pub async fn receive_close(&mut self) -> Result<(u16, String), TestError> {
        match self.receive_data().await? {
            Received::Close { code, reason } => Ok((code, reason)),
            got => Err(TestError::Unexpected { expected: "a Close frame", got }),
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut Connection, &mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut self.protocol, &mut out);
        self.pipe.write(&out);
    }

    fn decode(&mut self) -> Result<Option<Received>, TestError> {
        let mut out = Vec::new();
        let limits = Limits { message_bytes_max: None, fragments_max: None };
        let (used, received) = self.protocol.receive(&mut self.unread, &mut out, &limits, &mut self.codec)?;
        let received = received.map(owned);
        self.unread.drain(..used);
        if self.answers {
            self.pipe.write(&out);
        }
        Ok(received)
    }
}

impl std::fmt::Debug for TestSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestSocket").field("close", &self.protocol.close_state()).finish_non_exhaustive()
    }
}

fn owned(received: protocol::Received<'_>) -> Received {
    match received {
        protocol::Received::Text(text) => Received::Text(text.into_owned()),
        protocol::Received::Binary(bytes) => Received::Binary(bytes.into_owned()),
        protocol::Received::Ping(payload) => Received::Ping(payload.to_vec()),
        protocol::Received::Pong(payload) => Received::Pong(payload.to_vec()),
        protocol::Received::Close(frame) => Received::Close {
            code: frame.map_or(NO_STATUS, |frame| frame.code.get()),
            reason: frame.map_or_else(String::new, |frame| frame.reason.to_owned()),
        },
    }
}
