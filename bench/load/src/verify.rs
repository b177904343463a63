//! One exchange byte by byte, before the load itself only counts.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};

use crate::content::Content;
use crate::deflate;
use crate::frame::Header;
use crate::opening;
use crate::target::Target;

/// Sends the message twice on a route that sends it back, and looks at what comes:
/// whole, of the same kind, and compressed if the load asked for that. Twice, because
/// a server that keeps its window between messages shows it in the second.
pub(crate) fn exchange(target: &Target, path: &str, content: Content) -> Result<()> {
    let (socket, mut received) = opening::open_blocking(target, path, content.deflate)?;
    for _ in 0..2 {
        opening::write_all(&socket, &content.frame(target.kind()))?;
        let message = receive(&socket, &mut received)
            .and_then(|(header, payload)| look_at(target, content, header, payload))
            .with_context(|| format!("what comes back on {path}"))?;
        ensure!(message == content.payload(), "what comes back on {path} differs from what was sent");
    }
    Ok(())
}

/// The payload that the frame stands for.
fn look_at(target: &Target, content: Content, header: Header, payload: Vec<u8>) -> Result<Vec<u8>> {
    ensure!(header.fin, "the message is fragmented");
    ensure!(header.opcode == target.kind().opcode(), "the message is of another kind: {:#x}", header.opcode);
    if !content.deflate {
        ensure!(!header.rsv1, "the message has a reserved bit");
        return Ok(payload);
    }
    ensure!(header.rsv1, "permessage-deflate was agreed upon, and the message came uncompressed");
    deflate::inflate(&payload, content.size)
}

/// One frame.
pub(crate) fn receive(socket: &OwnedFd, received: &mut Vec<u8>) -> Result<(Header, Vec<u8>)> {
    while received.len() < 2 || received.len() < Header::length(received) {
        opening::read_more(socket, received)?;
    }
    let start = Header::length(received);
    let header = Header::read(received)?;
    let end = start + header.payload_bytes as usize;
    while received.len() < end {
        opening::read_more(socket, received)?;
    }
    let payload = received[start..end].to_vec();
    received.drain(..end);
    Ok((header, payload))
}
