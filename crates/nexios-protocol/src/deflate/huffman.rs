//! Canonical Huffman codes of limited length (RFC 1951 §3.2.2).

/// Longest code of a literal, a length or a distance.
pub(super) const CODE_BITS_MAX: usize = 15;

/// A code as it is written, lowest bit first, and its length; 0 where the symbol does not occur.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    pub(super) bits: u16,
    pub(super) len: u8,
}

/// The best code for symbols that occur so often, none longer than `len_max`.
pub(super) fn codes<const N: usize>(counts: &[u32; N], len_max: usize) -> [Code; N] {
    let mut codes = [Code::default(); N];
    // Each symbol that occurs, below its count. Symbols are below 512, counts at most the length of a message.
    let mut by_symbol = [0_u32; N];
    let mut used = 0;
    for (symbol, count) in counts.iter().enumerate() {
        by_symbol[used.min(N - 1)] = count << 9 | symbol as u32;
        used += usize::from(*count > 0);
    }
    let symbol = |entry: &u32| (entry & 511) as usize;
    let mut by_count = by_symbol;
    let (by_symbol, by_count) = (&by_symbol[..used], &mut by_count[..used]);
    by_count.sort_unstable();
    match used {
        0 => {}
        // A code of its own needs a bit all the same (RFC 1951 §3.2.7).
        1 => codes[symbol(&by_count[0])].len = 1,
        _ => {
            let mut depths = [0_u32; N];
            let depths = &mut depths[..used];
            depths.iter_mut().zip(&*by_count).for_each(|(depth, entry)| *depth = entry >> 9);
            tree_depths(depths);
            let per_len = limited(depths, len_max);
            let mut rarest_first = by_count.iter();
            for len in (1..=len_max).rev() {
                for entry in rarest_first.by_ref().take(per_len[len] as usize) {
                    codes[symbol(entry)].len = len as u8;
                }
            }
        }
    }
    number(&mut codes, by_symbol.iter().map(symbol));
    codes
}

/// Gives the codes of these symbols, in ascending order, the bits that follow from their lengths.
pub(super) fn number(codes: &mut [Code], symbols: impl Iterator<Item = usize> + Clone) {
    let mut next = [0_u16; CODE_BITS_MAX + 2];
    for symbol in symbols.clone() {
        next[usize::from(codes[symbol].len) + 1] += 1;
    }
    for len in 1..next.len() {
        next[len] = next[len].wrapping_add(next[len - 1]) << 1;
    }
    for symbol in symbols {
        let code = &mut codes[symbol];
        let bits = &mut next[usize::from(code.len)];
        code.bits = bits.reverse_bits() >> (16 - u32::from(code.len));
        *bits += 1;
    }
}

/// Counts in ascending order become the depths of their leaves, in place (Moffat and Katajainen,
/// "In-place calculation of minimum-redundancy codes", 1995).
fn tree_depths(counts: &mut [u32]) {
    let n = counts.len();
    // First pass: inner nodes' counts, then their parents.
    let (mut root, mut leaf) = (0, 0);
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            if leaf >= n || (root < next && counts[root] < counts[leaf]) {
                sum += counts[root];
                counts[root] = next as u32;
                root += 1;
            } else {
                sum += counts[leaf];
                leaf += 1;
            }
        }
        counts[next] = sum;
    }
    // Second pass: the inner nodes' depths.
    counts[n - 2] = 0;
    for next in (0..n - 2).rev() {
        counts[next] = counts[counts[next] as usize] + 1;
    }
    // Third pass: the leaves' depths, the rarest last at first, so at the front in the end.
    let (mut available, mut depth) = (1_usize, 0);
    let (mut inner, mut next) = (n as isize - 2, n as isize - 1);
    while available > 0 {
        let mut used = 0;
        while inner >= 0 && counts[inner as usize] == depth {
            used += 1;
            inner -= 1;
        }
        for _ in used..available {
            counts[next as usize] = depth;
            next -= 1;
        }
        available = 2 * used;
        depth += 1;
    }
}

/// How many codes of each length there are when none is longer than `len_max`.
fn limited(depths: &[u32], len_max: usize) -> [u32; CODE_BITS_MAX + 1] {
    let mut per_len = [0; CODE_BITS_MAX + 1];
    for depth in depths {
        per_len[(*depth as usize).min(len_max)] += 1;
    }
    // Codes that were cut take more than there is: make others longer until all fit (Kraft).
    let mut taken: u32 = (1..=len_max).map(|len| per_len[len] << (len_max - len)).sum();
    while taken > 1 << len_max {
        let Some(len) = (1..len_max).rev().find(|len| per_len[*len] > 0) else { break };
        per_len[len_max] -= 1;
        per_len[len] -= 1;
        per_len[len + 1] += 2;
        taken -= 1;
    }
    per_len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the book: the two rarest become one, again and again.
    fn best_size(counts: &[u32]) -> u64 {
        let mut heap: Vec<u64> = counts.iter().filter(|count| **count > 0).map(|count| u64::from(*count)).collect();
        let mut size = 0;
        while heap.len() > 1 {
            heap.sort_unstable_by(|a, b| b.cmp(a));
            let sum = heap.pop().unwrap() + heap.pop().unwrap();
            size += sum;
            heap.push(sum);
        }
        size
    }

    fn size<const N: usize>(counts: &[u32; N], codes: &[Code; N]) -> u64 {
        counts.iter().zip(codes).map(|(count, code)| u64::from(*count) * u64::from(code.len)).sum()
    }

    fn is_complete(codes: &[Code], len_max: usize) -> bool {
        let taken: u64 =
            codes.iter().filter(|code| code.len > 0).map(|code| 1 << (len_max - usize::from(code.len))).sum();
        taken == 1 << len_max
    }

    proptest! {
        #[test]
        fn codes_are_the_shortest_and_no_prefix_of_each_other(counts: [u8; 30]) {
            let counts = counts.map(|count| u32::from(count.saturating_sub(100)));
            prop_assume!(counts.iter().filter(|count| **count > 0).count() > 1);
            let codes = codes(&counts, 15);
            prop_assert_eq!(size(&counts, &codes), best_size(&counts));
            prop_assert!(is_complete(&codes, 15));
        }
    }

    #[test]
    fn no_code_is_longer_than_allowed() {
        // Fibonacci's numbers make the deepest tree.
        let mut counts = [1_u32; 20];
        for index in 2..20 {
            counts[index] = counts[index - 1] + counts[index - 2];
        }
        for len_max in [5, 7, 15] {
            let codes = codes(&counts, len_max);
            assert!(codes.iter().all(|code| (1..=len_max).contains(&usize::from(code.len))));
            assert!(is_complete(&codes, len_max));
        }
    }

    #[test]
    fn codes_are_numbered_as_in_the_rfc() {
        // RFC 1951 §3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4) of A to H.
        let mut codes = [3, 3, 3, 3, 3, 2, 4, 4].map(|len| Code { bits: 0, len });
        number(&mut codes, 0..8);
        let written: Vec<u16> = codes.iter().map(|code| code.bits.reverse_bits() >> (16 - code.len)).collect();
        assert_eq!(written, [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]);
    }
}
