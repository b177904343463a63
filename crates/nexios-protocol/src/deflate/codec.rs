//! Compressing: one stream per thread where contexts are not kept, else one per connection.

use zlib_rs::{Deflate, DeflateConfig as ZlibConfig, DeflateFlush};

use super::inflate::Inflater;
use super::one_shot::{ONE_SHOT_BYTES_MAX, OneShot};

/// What a sync flush ends with and a message leaves out (RFC 7692 §7.2.1).
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The highest level at which a short message is compressed without a stream.
const ONE_SHOT_LEVEL_MAX: u8 = 2;

/// Streams of one thread for all connections that keep no context: an idle connection holds
/// nothing. Made when first used, reset for each message.
#[derive(Default)]
pub struct Codec {
    one_shot: Option<Box<OneShot>>,
    deflaters: Vec<((u8, u8), Deflate)>,
    inflater: Option<Box<Inflater>>,
}

impl Codec {
    /// A codec without any stream yet.
    pub fn new() -> Self {
        Codec::default()
    }

    /// Appends one whole message, compressed on its own, to `out` (RFC 7692 §7.2.1).
    ///
    /// At level 1 messages of up to 32 KiB have fixed codes, at level 2 codes of their own where that is shorter;
    /// longer ones and higher levels are zlib's.
    ///
    /// ```
    /// let mut out = Vec::new();
    /// nexios_protocol::Codec::new().compress(15, 2, b"Hello", &mut out);
    /// assert_eq!(out, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    /// ```
    pub fn compress(&mut self, window_bits: u8, level: u8, payload: &[u8], out: &mut Vec<u8>) {
        if level <= ONE_SHOT_LEVEL_MAX && (1..=ONE_SHOT_BYTES_MAX).contains(&payload.len()) {
            let one_shot = self.one_shot.get_or_insert_with(|| Box::new(OneShot::new()));
            return one_shot.compress(window_bits, level == ONE_SHOT_LEVEL_MAX, payload, out);
        }
        let key = (window_bits, level);
        let index = self.deflaters.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            self.deflaters.push((key, new_deflate(window_bits, level, 8)));
            self.deflaters.len() - 1
        });
        let deflate = &mut self.deflaters[index].1;
        compress_message(deflate, payload, out);
        deflate.reset();
    }

    /// The shared stream for messages that are inflated in one go.
    pub(crate) fn take_inflater(&mut self) -> Box<Inflater> {
        self.inflater.take().unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut inflater: Box<Inflater>) {
        inflater.reset();
        self.inflater = Some(inflater);
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("deflaters", &self.deflaters.len()).finish_non_exhaustive()
    }
}

/// The stream of a connection that keeps its context between messages.
pub struct ContextDeflater(Deflate);

impl ContextDeflater {
    /// A stream with an empty window.
    pub fn new(window_bits: u8, level: u8, mem_level: u8) -> Self {
        ContextDeflater(new_deflate(window_bits, level, mem_level))
    }

    /// Appends the next message to `out`, built on those before it.
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        compress_message(&mut self.0, payload, out);
    }
}

impl std::fmt::Debug for ContextDeflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContextDeflater").finish_non_exhaustive()
    }
}

fn new_deflate(window_bits: u8, level: u8, mem_level: u8) -> Deflate {
    Deflate::new_with_config(ZlibConfig {
        level: i32::from(level.clamp(1, 9)),
        window_bits: -i32::from(window_bits.clamp(9, 15)),
        mem_level: i32::from(mem_level.clamp(1, 9)),
        ..ZlibConfig::default()
    })
}

fn compress_message(deflate: &mut Deflate, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut read = 0;
    loop {
        let written = out.len();
        // Incompressible data grows by some bytes per 16 KiB; a flush wants 6 bytes of room.
        out.resize(written + (payload.len() - read) + (payload.len() >> 10) + 64, 0);
        let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
        let result = deflate.compress(&payload[read..], &mut out[written..], DeflateFlush::SyncFlush);
        read += (deflate.total_in() - before_in) as usize;
        let produced = (deflate.total_out() - before_out) as usize;
        let room_left = produced < out.len() - written;
        out.truncate(written + produced);
        // `BufError` only says that there was nothing left to do.
        if result.is_err() || (read == payload.len() && room_left) {
            break;
        }
    }
    if out[start..].ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    if out.len() == start {
        // An empty message is one empty stored block without its tail (RFC 7692 §7.2.3.6).
        out.push(0);
    }
}
