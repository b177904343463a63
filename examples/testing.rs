//! Testing endpoints in memory, without a port: `cargo test --example testing`.
//!
//! The same in Python:
//!
//! ```python
//! async def test_echo():
//!     async with TestClient(app) as client:
//!         async with client.connect("/ws") as ws:
//!             await ws.send_text("hello")
//!             assert await ws.receive_text() == "Echo: hello"
//! ```

use nexios::{App, Next, Route, WebSocket};

fn app() -> App {
    App::new().ws("/ws", echo).route(Route::new("/secure", echo).middleware(auth))
}

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(format!("Echo: {text}")).await?;
    }
}

async fn auth(ws: WebSocket, next: Next) -> nexios::Result {
    match ws.bearer_token().as_deref() {
        Some("secret") => next.run(ws).await,
        Some(_) => Ok(ws.close(1008, "Invalid token").await?),
        None => ws.reject(401).await,
    }
}

fn main() -> Result<(), nexios::StartError> {
    println!("ws://127.0.0.1:8000/ws; run the tests by `cargo test --example testing`");
    app().run("127.0.0.1:8000")
}

#[cfg(test)]
mod tests {
    use nexios::CloseCode;
    use nexios::testing::{Received, TestClient, TestError};

    use super::*;

    #[tokio::test]
    async fn text_is_echoed_also_when_it_comes_in_fragments() -> Result<(), TestError> {
        let client = TestClient::new(app()).unwrap();
        let mut socket = client.connect("/ws").await?;
        socket.send_text("hello");
        assert_eq!(socket.receive_text().await?, "Echo: hello");
        socket.send_fragments(&["hel", "", "lo"]);
        assert_eq!(socket.receive_text().await?, "Echo: hello");
        socket.close(CloseCode::NORMAL, "bye");
        // The code comes back; the reason was for the server.
        assert_eq!(socket.receive_close().await?, (1000, String::new()));
        Ok(())
    }

    #[tokio::test]
    async fn a_wrong_token_is_told_so_by_code_and_reason() -> Result<(), TestError> {
        let client = TestClient::new(app()).unwrap();
        let mut socket = client.request("/secure").header("Authorization", "Bearer wrong").connect().await?;
        assert_eq!(socket.receive_close().await?, (1008, "Invalid token".into()));
        Ok(())
    }

    #[tokio::test]
    async fn a_refused_handshake_is_a_result_of_its_own() {
        let client = TestClient::new(app()).unwrap();
        let Err(TestError::Refused(refused)) = client.connect("/secure").await else { panic!("it was let in") };
        assert_eq!(refused.status, 401);
    }

    /// Under a paused clock a minute of silence takes no time.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_answer_pings_is_cut() -> Result<(), TestError> {
        let client = TestClient::new(app()).unwrap();
        let mut socket = client.connect("/ws").await?;
        socket.stop_answering();
        client.run_for(std::time::Duration::from_secs(60)).await;
        assert!(matches!(socket.receive().await?, Received::Ping(_)));
        assert_eq!(client.app().count(), 0);
        Ok(())
    }
}
