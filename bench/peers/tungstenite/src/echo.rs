//! `/echo`: every message back to its sender, those that have come together with one flush.

use std::future::ready;

use futures_util::{StreamExt, TryStreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;

pub(crate) async fn serve(socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    let (write, read) = socket.split();
    read.try_filter(|message| ready(message.is_text() || message.is_binary())).forward(write).await
}
