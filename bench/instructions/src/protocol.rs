//! Paths of the protocol, which touches no socket.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use nexios_protocol::{Codec, Connection, FrameHeader, Limits, OpCode, Received, Role, apply_mask, write_frame};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A text as a client sends it.
pub(crate) fn frame(size: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let payload: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
    write_frame(&mut frame, OpCode::Text, true, false, &payload, Some(KEY));
    frame
}

pub(crate) fn parse(times: u32) -> Result<()> {
    let frame = frame(20);
    for _ in 0..times {
        let parsed = FrameHeader::parse(black_box(&frame))?;
        black_box(parsed.context("the header is whole")?);
    }
    Ok(())
}

pub(crate) fn unmask(times: u32) -> Result<()> {
    let mut payload = vec![0x61; 1024];
    for _ in 0..times {
        apply_mask(black_box(&mut payload), black_box(KEY), 0);
    }
    Ok(())
}

pub(crate) fn decode(times: u32) -> Result<()> {
    let frame = frame(20);
    let (mut connection, mut codec, limits) = (Connection::new(Role::Server, None), Codec::new(), Limits::default());
    let (mut input, mut answers) = (frame.clone(), Vec::new());
    for _ in 0..times {
        // Unmasked in place, so it is needed afresh.
        input.copy_from_slice(&frame);
        let (used, received) = connection.receive(&mut input, &mut answers, &limits, &mut codec)?;
        ensure!(used == frame.len() && matches!(black_box(received), Some(Received::Text(_))), "no text was received");
    }
    Ok(())
}
