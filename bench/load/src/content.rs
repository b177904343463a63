//! What a message is made of.

use std::fmt::Write as _;

use crate::deflate;
use crate::frame::{self, Kind};

const SYMBOLS: [&str; 6] = ["EURUSD", "USDJPY", "GBPUSD", "AUDNZD", "USDCHF", "EURSEK"];
const SIDES: [&str; 2] = ["buy", "sell"];

/// The payload of every message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes of payload, before it is compressed.
    pub size: usize,
    /// JSON through permessage-deflate (RFC 7692) without context takeover; letters otherwise.
    pub deflate: bool,
}

impl Content {
    /// Letters that are sent as they are.
    pub fn letters(size: usize) -> Self {
        Self { size, deflate: false }
    }

    pub(crate) fn payload(self) -> Vec<u8> {
        if self.deflate { json(self.size) } else { (b'a'..=b'z').cycle().take(self.size).collect() }
    }

    /// The masked frame that a client sends.
    pub(crate) fn frame(self, kind: Kind) -> Vec<u8> {
        let payload = self.payload();
        if self.deflate {
            frame::masked(kind, true, &deflate::compress(&payload))
        } else {
            frame::masked(kind, false, &payload)
        }
    }

    /// What zlib makes of the payload at its default level, 6; without deflate the size itself.
    pub(crate) fn zlib_bytes(self) -> u64 {
        let payload = self.payload();
        let length = if self.deflate { deflate::compress(&payload).len() } else { payload.len() };
        length as u64
    }
}

/// Records as an application sends them: the same keys again and again, values that differ.
fn json(size: usize) -> Vec<u8> {
    let mut text = String::from("{\"orders\":[");
    let mut state = 1_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut number = 0_u32;
    loop {
        let mut record = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            record,
            "{}{{\"id\":{},\"user\":\"{:06x}\",\"symbol\":\"{}\",\"side\":\"{}\",\"price\":{}.{:05},\"quantity\":{},\"at\":{}}}",
            if number == 0 { "" } else { "," },
            100_000 + number,
            next(1 << 24),
            SYMBOLS[next(6) as usize],
            SIDES[next(2) as usize],
            next(2),
            next(100_000),
            100 * (1 + next(50)),
            1_760_000_000_000_u64 + u64::from(number) * 1000 + u64::from(next(1000)),
        );
        if text.len() + record.len() + 12 > size {
            break;
        }
        text.push_str(&record);
        number += 1;
    }
    text.push_str("],\"note\":\"");
    let padding = size.saturating_sub(text.len() + 2);
    text.extend(('a'..='z').cycle().take(padding));
    text.push_str("\"}");
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_size_asked_for_and_compresses_like_json() {
        for size in [512, 2048] {
            let text = Content { size, deflate: true }.payload();
            assert_eq!(text.len(), size);
            let parsed: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert!(parsed["orders"].as_array().unwrap().len() > 2);
        }
        let compressed = Content { size: 2048, deflate: true }.zlib_bytes();
        assert!((500..700).contains(&compressed), "{compressed}");
    }

    #[test]
    fn letters_are_not_compressed() {
        assert_eq!(Content::letters(28).payload(), b"abcdefghijklmnopqrstuvwxyzab");
        assert_eq!(Content::letters(28).zlib_bytes(), 28);
    }
}
