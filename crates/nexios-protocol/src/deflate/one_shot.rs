//! Compressing a short message by itself, with nothing to set up or to clear.
//!
//! zlib is made for streams. Of a message of 2 KiB it takes most of the time for tables that are cleared, and for
//! trees that are built node by node. One message of 2 KiB of JSON at level 2 takes 4,950 ns here and 1.04 of the size
//! of zlib's level 6; zlib-rs at level 2 takes 9,300 ns and 1.05, libdeflate 4,860 ns and 1.03, but ends each message
//! with BFINAL and needs a C compiler (`bench/README.md`, "Where the time of a compressed echo went"). A compressed echo
//! costs by that 0.75 of uWebSockets instead of 1.01:
//!
//! ```sh
//! cargo run --release -p runner -- run --workloads deflate-2k --peers nexios,uwebsockets
//! ```

use super::block::{self, Fixed, FixedBlock};
use super::matches::{Counted, Effort, Matches};

/// Longer messages are a stream's affair; no distance in them is too long for a window of 15 bits either.
pub(super) const ONE_SHOT_BYTES_MAX: usize = 32 << 10;

/// With the fixed codes, and with codes of its own.
const FAST: Effort = Effort { two_places: false, noted_bytes: 4 };
const SMALL: Effort = Effort { two_places: true, noted_bytes: 4 };

/// Tables for one message after another.
pub(super) struct OneShot {
    matches: Matches,
    counted: Counted,
    fixed: Fixed,
}

impl OneShot {
    pub(super) fn new() -> Self {
        OneShot { matches: Matches::new(), counted: Counted::new(), fixed: Fixed::new() }
    }

    /// Appends a message of up to [`ONE_SHOT_BYTES_MAX`]; `own_codes` makes it smaller, and takes longer.
    pub(super) fn compress(&mut self, window_bits: u8, own_codes: bool, message: &[u8], out: &mut Vec<u8>) {
        let distance_max = 1 << window_bits.min(15);
        if own_codes {
            self.counted.clear();
            self.matches.find(message, distance_max, SMALL, &mut self.counted);
            return block::write(message, &self.counted, &self.fixed, out);
        }
        let start = out.len();
        let mut block = FixedBlock::begin(message.len(), &self.fixed, out);
        self.matches.find(message, distance_max, FAST, &mut block);
        let bytes = block.end();
        out.truncate(start + bytes);
        if bytes > message.len() + 5 {
            out.truncate(start);
            block::write_stored(message, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Inflater;
    use super::*;
    use proptest::prelude::*;

    fn inflated(packed: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut inflater = Inflater::default();
        inflater.push(packed, &mut out, 1 << 20).unwrap();
        inflater.finish(&mut out, 1 << 20).unwrap();
        out
    }

    /// Pieces that come again, so that there are matches of all lengths and distances.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 1..40),
            "[a-f ]{1,300}".prop_map(String::into_bytes),
            (any::<u8>(), 1usize..600).prop_map(|(byte, count)| vec![byte; count]),
        ];
        (proptest::collection::vec(piece, 1..6), proptest::collection::vec(0usize..6, 0..60)).prop_map(
            |(pieces, order)| {
                let mut message: Vec<u8> =
                    order.iter().flat_map(|index| &pieces[index % pieces.len()]).copied().collect();
                message.truncate(ONE_SHOT_BYTES_MAX);
                message
            },
        )
    }

    proptest! {
        #[test]
        fn messages_come_back_one_after_another(
            messages in proptest::collection::vec(message(), 1..4), own_codes: bool, window_bits in 9u8..16,
        ) {
            let mut one_shot = OneShot::new();
            for message in messages {
                let mut packed = b"before".to_vec();
                one_shot.compress(window_bits, own_codes, &message, &mut packed);
                prop_assert!(packed.len() <= 6 + message.len() + 6);
                prop_assert_eq!(inflated(&packed[6..]), message);
            }
        }
    }

    #[test]
    fn no_distance_is_longer_than_the_window() {
        let mut message: Vec<u8> = (0..=255).chain(0..=255).map(|byte: u8| byte.wrapping_mul(37)).collect();
        message.extend((0..300_u32).map(|index| (index * index % 251) as u8));
        message.extend_from_within(..256);
        for window_bits in 9..=15 {
            let mut packed = Vec::new();
            OneShot::new().compress(window_bits, true, &message, &mut packed);
            let mut window = zlib_rs::Inflate::new(false, window_bits);
            let mut out = vec![0; message.len()];
            let end = window.decompress(&packed, &mut out, zlib_rs::InflateFlush::SyncFlush);
            assert!(end.is_ok() && out == message, "{window_bits}");
        }
    }
}
