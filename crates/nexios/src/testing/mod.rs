//! Testing an app in memory: no port, no threads, and time that can be simulated.
//!
//! A [`TestClient`] runs the app's one shard inside the test's own runtime, whenever the test
//! awaits something of it. Under `#[tokio::test(start_paused = true)]` tokio's clock jumps
//! forward as soon as nothing else is to be done: keepalives, deadlines and rate limits are
//! then tested in no time.
//!
//! ```
//! use nexios::{App, WebSocket, testing::TestClient};
//!
//! async fn echo(ws: WebSocket) -> nexios::Result {
//!     ws.accept().await?;
//!     loop {
//!         let text = ws.receive_text().await?;
//!         ws.send_text(format!("Echo: {text}")).await?;
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = TestClient::new(App::new().ws("/ws", echo))?;
//! let mut socket = client.connect("/ws").await?;
//! socket.send_text("hello");
//! assert_eq!(socket.receive_text().await?, "Echo: hello");
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod node;
mod request;
mod socket;

pub use client::{TestClient, TestResponse};
pub use error::{Refused, TestError};
pub use request::TestRequest;
pub use socket::{Received, TestSocket};
