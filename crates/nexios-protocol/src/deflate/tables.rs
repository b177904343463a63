//! How DEFLATE names lengths and distances (RFC 1951 §3.2.5).

/// Symbols of literals, the end of a block, and lengths.
pub(super) const LITERALS: usize = 286;
/// Symbols of distances.
pub(super) const DISTANCES: usize = 30;
/// Ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
pub(super) const MATCH_BYTES_MAX: usize = 258;

/// A symbol, and the bits that follow it.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) symbol: usize,
    pub(super) extra: u32,
    pub(super) extra_bits: u32,
}

/// The symbol of each length, less 257; the first three are none.
const LENGTH_SYMBOLS: [u8; MATCH_BYTES_MAX + 1] = {
    let mut table = [0; MATCH_BYTES_MAX + 1];
    let mut length = 3;
    while length < MATCH_BYTES_MAX {
        table[length] = if length < 11 {
            length as u8 - 3
        } else {
            let log = (length - 3).ilog2();
            (4 * (log - 1)) as u8 + ((length - 3) >> (log - 2) & 3) as u8
        };
        length += 1;
    }
    table[MATCH_BYTES_MAX] = 28;
    table
};

/// Of a length of 3 to 258.
#[inline]
pub(super) fn length(length: usize) -> Named {
    let index = u32::from(LENGTH_SYMBOLS[length.min(MATCH_BYTES_MAX)]);
    let extra_bits = if (8..28).contains(&index) { index / 4 - 1 } else { 0 };
    let extra = (length as u32).wrapping_sub(3) & ((1 << extra_bits) - 1);
    Named { symbol: 257 + index as usize, extra, extra_bits }
}

/// Of a distance of 1 to 32,768.
#[inline]
pub(super) fn distance(distance: usize) -> Named {
    let less = distance as u32 - 1;
    if less < 4 {
        return Named { symbol: less as usize, extra: 0, extra_bits: 0 };
    }
    let extra_bits = less.ilog2() - 1;
    Named {
        symbol: (2 * extra_bits + (less >> extra_bits)) as usize,
        extra: less & ((1 << extra_bits) - 1),
        extra_bits,
    }
}

/// Extra bits of a length symbol, by the symbol.
pub(super) fn extra_bits_of_length(symbol: usize) -> u32 {
    match symbol {
        265..=284 => (symbol as u32 - 261) / 4,
        _ => 0,
    }
}

/// Extra bits of a distance symbol, by the symbol.
pub(super) fn extra_bits_of_distance(symbol: usize) -> u32 {
    (symbol as u32 / 2).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_named_as_in_the_rfc() {
        let first = [
            3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
            227, 258,
        ];
        for (index, length) in first.into_iter().enumerate() {
            let named = super::length(length);
            assert_eq!((named.symbol, named.extra), (257 + index, 0), "{length}");
            assert_eq!(named.extra_bits, extra_bits_of_length(named.symbol));
        }
        let named = super::length(257);
        assert_eq!((named.symbol, named.extra, named.extra_bits), (284, 30, 5));
    }

    #[test]
    fn distances_are_named_as_in_the_rfc() {
        let first = [
            1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
            4097, 6145, 8193, 12289, 16385, 24577,
        ];
        for (symbol, distance) in first.into_iter().enumerate() {
            let named = super::distance(distance);
            assert_eq!((named.symbol, named.extra), (symbol, 0), "{distance}");
            assert_eq!(named.extra_bits, extra_bits_of_distance(symbol));
        }
        let named = super::distance(32_768);
        assert_eq!((named.symbol, named.extra, named.extra_bits), (29, 8191, 13));
    }
}
