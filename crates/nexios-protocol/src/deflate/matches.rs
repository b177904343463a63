//! What in a message has been there before (LZ77): literals, and matches of at least four bytes.

use super::tables::{self, DISTANCES, END_OF_BLOCK, LITERALS, MATCH_BYTES_MAX};

/// Shorter matches are not looked for: four bytes are one comparison.
const MATCH_BYTES_MIN: usize = 4;
/// Buckets of the table; a short message uses the first of them only.
const BUCKET_BITS_MAX: u32 = 13;
const BUCKET_BITS_MIN: u32 = 8;

/// A literal, or a match: its length above its distance less 1.
#[derive(Clone, Copy)]
pub(super) struct Token(u32);

/// How hard matches are looked for.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// Look at the two last places with a hash, instead of at the last.
    pub(super) two_places: bool,
    /// Bytes of each match, from its beginning, where later matches may begin.
    pub(super) noted_bytes: usize,
}

/// Where in a message words have been seen before.
pub(super) struct Matches {
    /// Where the last two words with a hash lie, newest first, behind `base`.
    buckets: Vec<[u32; 2]>,
    /// Positions before it are of earlier messages: the table is never cleared.
    base: u32,
}

/// A message as tokens, and how often each symbol occurs.
pub(super) struct Counted {
    pub(super) tokens: Vec<Token>,
    pub(super) literals: [u32; LITERALS],
    pub(super) distances: [u32; DISTANCES],
}

/// Takes a message in pieces, in order.
pub(super) trait Sink {
    fn literal(&mut self, byte: u8);

    /// The next `length` bytes are those of `distance` bytes ago.
    fn repeat(&mut self, length: usize, distance: usize);
}

impl Token {
    /// What it stands for: a literal, or a length and a distance.
    #[inline]
    pub(super) fn expand(self) -> Result<u8, (usize, usize)> {
        match self.0 >> 16 {
            0 => Ok(self.0 as u8),
            length => Err((length as usize, (self.0 & 0xffff) as usize + 1)),
        }
    }
}

impl Matches {
    pub(super) fn new() -> Self {
        Matches { buckets: vec![[0; 2]; 1 << BUCKET_BITS_MAX], base: 1 }
    }

    /// Hands out a message; no distance is longer than `distance_max`, at most 32 KiB.
    #[inline]
    pub(super) fn find(&mut self, message: &[u8], distance_max: usize, effort: Effort, sink: &mut impl Sink) {
        let base = self.begin(message.len());
        let bits = (usize::BITS - message.len().leading_zeros()).clamp(BUCKET_BITS_MIN, BUCKET_BITS_MAX);
        let buckets = &mut self.buckets[..1 << bits];
        let mut at = 0;
        while let Some(rest) = message.get(at..)
            && let Some(word) = rest.first_chunk::<MATCH_BYTES_MIN>()
        {
            let before = enter(buckets, bits, *word, base + at as u32);
            let longest_at = |best: (usize, usize), place: u32| {
                let Some(start) = place.checked_sub(base) else { return best };
                let (start, distance) = (start as usize, at - start as usize);
                if distance > distance_max {
                    return best;
                }
                let length = common(&message[start..], rest);
                if length > best.0 { (length, distance) } else { best }
            };
            let mut best = longest_at((0, 0), before[0]);
            if effort.two_places {
                best = longest_at(best, before[1]);
            }
            let (length, distance) = best;
            if length < MATCH_BYTES_MIN {
                sink.literal(word[0]);
                at += 1;
                continue;
            }
            sink.repeat(length, distance);
            for (inside, word) in rest.windows(MATCH_BYTES_MIN).enumerate().take(length.min(effort.noted_bytes)).skip(1)
            {
                let Some(word) = word.first_chunk() else { break };
                enter(buckets, bits, *word, base + (at + inside) as u32);
            }
            at += length;
        }
        message.get(at..).unwrap_or_default().iter().for_each(|byte| sink.literal(*byte));
    }

    /// Where the message's positions begin.
    fn begin(&mut self, len: usize) -> u32 {
        if self.base > u32::MAX / 2 || len as u64 > u64::from(u32::MAX / 4) {
            self.buckets.fill([0; 2]);
            self.base = 1;
        }
        let base = self.base;
        self.base += len as u32;
        base
    }
}

impl Counted {
    pub(super) fn new() -> Self {
        Counted { tokens: Vec::new(), literals: [0; LITERALS], distances: [0; DISTANCES] }
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.literals = [0; LITERALS];
        self.literals[END_OF_BLOCK] = 1;
        self.distances = [0; DISTANCES];
    }
}

impl Sink for Counted {
    #[inline(always)]
    fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
        self.tokens.push(Token(u32::from(byte)));
    }

    #[inline(always)]
    fn repeat(&mut self, length: usize, distance: usize) {
        self.literals[tables::length(length).symbol] += 1;
        self.distances[tables::distance(distance).symbol] += 1;
        self.tokens.push(Token((length as u32) << 16 | (distance as u32 - 1)));
    }
}

/// Notes where a word lies; returns where words of the same hash lay before.
#[inline]
fn enter(buckets: &mut [[u32; 2]], bits: u32, word: [u8; MATCH_BYTES_MIN], position: u32) -> [u32; 2] {
    let hash = u32::from_le_bytes(word).wrapping_mul(0x9e37_79b1) >> (u32::BITS - bits);
    let Some(bucket) = buckets.get_mut(hash as usize) else { return [0; 2] };
    let before = *bucket;
    *bucket = [position, before[0]];
    before
}

/// How many bytes both begin with, up to the longest match.
#[inline]
fn common(earlier: &[u8], later: &[u8]) -> usize {
    let max = later.len().min(MATCH_BYTES_MAX);
    let mut length = 0;
    while let (Some(one), Some(other)) = (chunk(earlier, length), chunk(later, length)) {
        let different = one ^ other;
        if different != 0 {
            return (length + different.trailing_zeros() as usize / 8).min(max);
        }
        length += 8;
        if length >= max {
            return max;
        }
    }
    while length < max && earlier[length] == later[length] {
        length += 1;
    }
    length
}

#[inline]
fn chunk(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}
