//! A request with everything that a test may want to say.

use std::net::SocketAddr;

use nexios_engine::MemoryClient;
use nexios_engine::protocol::{ClientHandshake, DeflateConfig, HandshakeError};

use super::{Refused, TestClient, TestError, TestResponse, TestSocket};

/// Bytes on the way to a client that reads when it likes, about what a kernel holds.
const RECEIVE_BUFFER: usize = 256 << 10;
/// The host that test clients ask for.
const HOST: &str = "testserver";

/// A handshake, or a plain request, before it is sent.
#[derive(Debug)]
#[must_use = "nothing is sent before connect() or get()"]
pub struct TestRequest {
    client: TestClient,
    target: String,
    handshake: ClientHandshake,
    headers: Vec<(String, String)>,
    receive_buffer: usize,
    address: Option<SocketAddr>,
}

impl TestRequest {
    pub(super) fn new(client: TestClient, target: &str) -> Self {
        TestRequest {
            client,
            target: target.to_owned(),
            handshake: ClientHandshake::new(HOST, target),
            headers: Vec::new(),
            receive_buffer: RECEIVE_BUFFER,
            address: None,
        }
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.handshake = self.handshake.header(name, value);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Offers a subprotocol.
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.handshake = self.handshake.subprotocol(name);
        self
    }

    /// Offers permessage-deflate.
    pub fn compression(mut self, config: DeflateConfig) -> Self {
        self.handshake = self.handshake.deflate(config);
        self
    }

    /// The address that the server sees; without it the client has none, as on a Unix socket.
    pub fn client(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// How many bytes fit on the way to this client: with a small buffer, one that does not
    /// receive is a slow reader.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Opens the WebSocket.
    ///
    /// # Errors
    /// [`TestError::Refused`] with the status, headers and body of a refusal.
    pub async fn connect(self) -> Result<TestSocket, TestError> {
        let pipe = self.client.open(self.address, self.receive_buffer);
        pipe.write(&self.handshake.request().map_err(TestError::Handshake)?);
        let mut bytes = Vec::new();
        loop {
            match self.handshake.parse_response(&bytes) {
                Ok(Some((response, used))) => {
                    bytes.drain(..used);
                    return Ok(TestSocket::new(self.client, pipe, response, bytes));
                }
                Ok(None) => {
                    if read(&self.client, &pipe, &mut bytes).await? == 0 {
                        return Err(TestError::Handshake(HandshakeError::MalformedHead));
                    }
                }
                Err(HandshakeError::Refused { status, headers }) => {
                    let body = read_body(&self.client, &pipe, bytes, &headers).await?;
                    return Err(TestError::Refused(Refused { status, headers, body }));
                }
                Err(error) => return Err(TestError::Handshake(error)),
            }
        }
    }

    /// Sends it as a plain GET request.
    ///
    /// # Errors
    /// [`TestError::Timeout`], or what broke.
    pub async fn get(self) -> Result<TestResponse, TestError> {
        let pipe = self.client.open(self.address, self.receive_buffer);
        let mut request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n", self.target);
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        pipe.write(request.as_bytes());
        let mut bytes = Vec::new();
        loop {
            // A client's handshake reads any answer's head; only its verdict on 101 is not wanted.
            match self.handshake.parse_response(&bytes) {
                Err(HandshakeError::Refused { status, headers }) => {
                    let body = read_body(&self.client, &pipe, bytes, &headers).await?;
                    return Ok(TestResponse { status, headers, body });
                }
                Ok(None) => {
                    if read(&self.client, &pipe, &mut bytes).await? == 0 {
                        return Err(TestError::Handshake(HandshakeError::MalformedHead));
                    }
                }
                Ok(Some(_)) => return Err(TestError::Handshake(HandshakeError::MalformedHead)),
                Err(error) => return Err(TestError::Handshake(error)),
            }
        }
    }
}

/// Reads until the body is as long as its `Content-Length`, or to the end.
async fn read_body(
    client: &TestClient,
    pipe: &MemoryClient,
    mut bytes: Vec<u8>,
    headers: &[(String, String)],
) -> Result<Vec<u8>, TestError> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(usize::MAX);
    bytes.drain(..head);
    while bytes.len() < length {
        if read(client, pipe, &mut bytes).await? == 0 {
            break;
        }
    }
    Ok(bytes)
}

async fn read(client: &TestClient, pipe: &MemoryClient, bytes: &mut Vec<u8>) -> Result<usize, TestError> {
    let more = client.until(|cx| pipe.poll_read(cx, usize::MAX)).await??;
    bytes.extend_from_slice(&more);
    Ok(more.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{App, WebSocket};

    #[tokio::test]
    async fn the_server_sees_the_address_that_a_test_names() {
        let app = App::new().ws("/ws", async |ws: WebSocket| {
            ws.accept().await?;
            ws.send_text(format!("{:?}", ws.client().map(|client| (client.host, client.port)))).await?;
            Ok(())
        });
        let client = TestClient::new(app).unwrap();
        let address = SocketAddr::from(([1, 2, 3, 4], 5));
        let mut named = client.request("/ws").client(address).connect().await.unwrap();
        assert_eq!(named.receive_text().await.unwrap(), "Some((1.2.3.4, 5))");
        let mut unnamed = client.connect("/ws").await.unwrap();
        assert_eq!(unnamed.receive_text().await.unwrap(), "None");
    }
}
