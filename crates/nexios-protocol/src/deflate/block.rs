//! Tokens as one block of DEFLATE: stored, with the fixed codes, or with codes of its own (RFC 1951 §3.2).

use super::huffman::{CODE_BITS_MAX, Code, codes, number};
use super::matches::{Counted, Sink, Token};
use super::tables::{self, DISTANCES, END_OF_BLOCK, LITERALS, Named};

/// Symbols that describe code lengths, in the order in which their own lengths are written (RFC 1951 §3.2.7).
const LENGTH_CODES: usize = 19;
const ORDER: [usize; LENGTH_CODES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// The first three bits of a block that is not the last (RFC 1951 §3.2.3).
const FIXED_CODES: u64 = 0b010;
const OWN_CODES: u64 = 0b100;
/// Longest payload of a stored block.
const STORED_BYTES_MAX: usize = 0xffff;

/// Codes of literals and lengths, and of distances.
struct Codes {
    literals: [Code; LITERALS],
    distances: [Code; DISTANCES],
}

/// The lengths of a block's codes, themselves run-length encoded and coded.
struct Description {
    /// A symbol, and the bits that follow it.
    runs: Vec<(u8, u8)>,
    codes: [Code; LENGTH_CODES],
    literals: usize,
    distances: usize,
    own_lengths: usize,
}

/// The fixed codes (RFC 1951 §3.2.6).
pub(super) struct Fixed(Codes);

/// Writes bits, lowest first, into bytes that are there already.
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    bits: u64,
    len: u32,
}

impl Fixed {
    pub(super) fn new() -> Self {
        // The fixed codes have 288 symbols; the last two do not occur, but count.
        let mut all = [Code::default(); 288];
        for (symbol, code) in all.iter_mut().enumerate() {
            code.len = match symbol {
                144..=255 => 9,
                256..=279 => 7,
                _ => 8,
            };
        }
        number(&mut all, 0..288);
        let mut literals = [Code::default(); LITERALS];
        literals.copy_from_slice(&all[..LITERALS]);
        let mut distances = [Code { bits: 0, len: 5 }; DISTANCES];
        number(&mut distances, 0..DISTANCES);
        Fixed(Codes { literals, distances })
    }
}

/// Appends the message as one block, the shortest of its forms, and an empty stored block without its last four bytes
/// (RFC 7692 §7.2.1).
pub(super) fn write(message: &[u8], counted: &Counted, fixed: &Fixed, out: &mut Vec<u8>) {
    let extra = extra_bits(counted);
    let own = Codes {
        literals: codes(&counted.literals, CODE_BITS_MAX),
        distances: codes(&counted.distances, CODE_BITS_MAX),
    };
    let description = Description::of(&own);
    let own_bits = description.bits() + own.bits(counted);
    let fixed_bits = fixed.0.bits(counted);
    let bytes = (3 + own_bits.min(fixed_bits) + extra + 3).div_ceil(8) as usize;
    if bytes > message.len() + 5 {
        return write_stored(message, out);
    }
    let start = out.len();
    let mut bits = Bits::with_room(out, bytes);
    if own_bits < fixed_bits {
        bits.put(OWN_CODES, 3);
        description.write(&mut bits);
        counted.tokens.iter().for_each(|token| own.write(*token, &mut bits));
        bits.put_code(own.literals[END_OF_BLOCK]);
    } else {
        bits.put(FIXED_CODES, 3);
        counted.tokens.iter().for_each(|token| fixed.0.write(*token, &mut bits));
        bits.put_code(fixed.0.literals[END_OF_BLOCK]);
    }
    out.truncate(start + bytes);
}

/// A block with the fixed codes, written while its tokens are still being found.
pub(super) struct FixedBlock<'a> {
    codes: &'a Codes,
    bits: Bits<'a>,
}

impl<'a> FixedBlock<'a> {
    /// For a message of so many bytes: none takes more than 9 bits.
    pub(super) fn begin(len: usize, fixed: &'a Fixed, out: &'a mut Vec<u8>) -> Self {
        let mut bits = Bits::with_room(out, len + len / 8 + 3);
        bits.put(FIXED_CODES, 3);
        FixedBlock { codes: &fixed.0, bits }
    }

    /// Ends it as [`write`] does; returns how many bytes it took.
    pub(super) fn end(mut self) -> usize {
        self.bits.put_code(self.codes.literals[END_OF_BLOCK]);
        self.bits.put(0, 3);
        self.bits.at + usize::from(self.bits.len > 0)
    }
}

impl Sink for FixedBlock<'_> {
    #[inline(always)]
    fn literal(&mut self, byte: u8) {
        self.bits.put_code(self.codes.literals[usize::from(byte)]);
    }

    #[inline(always)]
    fn repeat(&mut self, length: usize, distance: usize) {
        self.codes.write_repeat(length, distance, &mut self.bits);
    }
}

/// What cannot be compressed, as it is.
pub(super) fn write_stored(message: &[u8], out: &mut Vec<u8>) {
    for part in message.chunks(STORED_BYTES_MAX) {
        let len = part.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.push(0);
}

/// Bits behind the symbols, whatever their codes.
fn extra_bits(counted: &Counted) -> u32 {
    let lengths = (265..285).map(|symbol| counted.literals[symbol] * tables::extra_bits_of_length(symbol));
    let distances = (4..DISTANCES).map(|symbol| counted.distances[symbol] * tables::extra_bits_of_distance(symbol));
    lengths.sum::<u32>() + distances.sum::<u32>()
}

impl Codes {
    /// Bits of all symbols of the message.
    fn bits(&self, counted: &Counted) -> u32 {
        let literals = counted.literals.iter().zip(&self.literals).map(|(count, code)| count * u32::from(code.len));
        let distances = counted.distances.iter().zip(&self.distances).map(|(count, code)| count * u32::from(code.len));
        literals.sum::<u32>() + distances.sum::<u32>()
    }

    #[inline(always)]
    fn write(&self, token: Token, out: &mut Bits<'_>) {
        match token.expand() {
            Ok(literal) => out.put_code(self.literals[usize::from(literal)]),
            Err((length, distance)) => self.write_repeat(length, distance, out),
        }
    }

    #[inline(always)]
    fn write_repeat(&self, length: usize, distance: usize, out: &mut Bits<'_>) {
        let (length, distance) = (tables::length(length), tables::distance(distance));
        out.put_named(self.literals[length.symbol], length);
        out.put_named(self.distances[distance.symbol], distance);
    }
}

impl Description {
    fn of(codes: &Codes) -> Self {
        let last = |codes: &[Code]| codes.iter().rposition(|code| code.len > 0).map_or(0, |last| last + 1);
        let literals = last(&codes.literals).max(257);
        let distances = last(&codes.distances).max(1);
        let mut lengths = [0; LITERALS + DISTANCES];
        let all = codes.literals[..literals].iter().chain(&codes.distances[..distances]);
        lengths.iter_mut().zip(all).for_each(|(len, code)| *len = code.len);
        let runs = runs(&lengths[..literals + distances]);
        let mut counts = [0; LENGTH_CODES];
        runs.iter().for_each(|(symbol, _)| counts[usize::from(*symbol)] += 1);
        let own = self::codes(&counts, 7);
        let own_lengths = ORDER.iter().rposition(|symbol| own[*symbol].len > 0).map_or(4, |last| (last + 1).max(4));
        Description { runs, codes: own, literals, distances, own_lengths }
    }

    fn bits(&self) -> u32 {
        let runs =
            self.runs.iter().map(|(symbol, _)| u32::from(self.codes[usize::from(*symbol)].len) + run_bits(*symbol));
        5 + 5 + 4 + 3 * self.own_lengths as u32 + runs.sum::<u32>()
    }

    fn write(&self, out: &mut Bits<'_>) {
        out.put(self.literals as u64 - 257, 5);
        out.put(self.distances as u64 - 1, 5);
        out.put(self.own_lengths as u64 - 4, 4);
        for symbol in &ORDER[..self.own_lengths] {
            out.put(u64::from(self.codes[*symbol].len), 3);
        }
        for (symbol, extra) in &self.runs {
            out.put_code(self.codes[usize::from(*symbol)]);
            out.put(u64::from(*extra), run_bits(*symbol));
        }
    }
}

/// Bits behind a symbol that repeats a length.
fn run_bits(symbol: u8) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

/// Lengths with their repetitions named: 16 repeats the last one 3 to 6 times, 17 and 18 are 3 to 138 zeros.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let mut runs = Vec::with_capacity(LITERALS + DISTANCES);
    for run in lengths.chunk_by(|one, other| one == other) {
        let (len, mut left) = (run[0], run.len());
        if len != 0 {
            runs.push((len, 0));
            left -= 1;
        }
        while left > 0 {
            let (taken, run) = match (len, left) {
                (0, 11..) => (left.min(138), (18, left.min(138) as u8 - 11)),
                (0, 3..) => (left, (17, left as u8 - 3)),
                (1.., 3..) => (left.min(6), (16, left.min(6) as u8 - 3)),
                _ => (1, (len, 0)),
            };
            runs.push(run);
            left -= taken;
        }
    }
    runs
}

impl<'a> Bits<'a> {
    /// Appends room for so many bytes, and a word that is to be cut off again.
    fn with_room(out: &'a mut Vec<u8>, bytes: usize) -> Self {
        let start = out.len();
        out.resize(start + bytes + 8, 0);
        Bits { out: &mut out[start..], at: 0, bits: 0, len: 0 }
    }

    #[inline(always)]
    fn put_named(&mut self, code: Code, named: Named) {
        let bits = u64::from(code.bits) | u64::from(named.extra) << code.len;
        self.put(bits, u32::from(code.len) + named.extra_bits);
    }

    #[inline(always)]
    fn put_code(&mut self, code: Code) {
        self.put(u64::from(code.bits), u32::from(code.len));
    }

    /// At most 56 bits; a whole word is written each time, over what follows.
    #[inline(always)]
    fn put(&mut self, bits: u64, len: u32) {
        self.bits |= bits << self.len;
        self.len += len;
        if let Some(word) = self.out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            *word = self.bits.to_le_bytes();
        }
        self.at += self.len as usize / 8;
        self.bits >>= self.len & !7;
        self.len &= 7;
    }
}
