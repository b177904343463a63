//! `/echo`: every message back to its sender. As the project's benchmark does, those that have
//! come already share a flush.

use futures_util::{FutureExt, SinkExt, StreamExt};
use yawc::{Frame, HttpWebSocket, OpCode, WebSocketError};

/// Messages that one flush takes.
const BATCH_MAX: usize = 32;

pub(crate) async fn serve(mut socket: HttpWebSocket) -> Result<(), WebSocketError> {
    while let Some(frame) = socket.next().await {
        feed(&mut socket, frame).await?;
        for _ in 1..BATCH_MAX {
            let Some(Some(frame)) = socket.next().now_or_never() else { break };
            feed(&mut socket, frame).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn feed(socket: &mut HttpWebSocket, frame: Frame) -> Result<(), WebSocketError> {
    let (opcode, _, payload) = frame.into_parts();
    match opcode {
        OpCode::Text => socket.feed(Frame::text(payload)).await,
        OpCode::Binary => socket.feed(Frame::binary(payload)).await,
        _ => Ok(()),
    }
}
