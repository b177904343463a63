//! Masking (RFC 6455 §5.3), at memory speed without intrinsics.

/// XORs `payload` with the key; `offset` is where in the frame's payload it begins.
///
/// ```
/// use nexios_protocol::apply_mask;
/// let mut payload = *b"Hello";
/// apply_mask(&mut payload, [0x37, 0xfa, 0x21, 0x3d], 0);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[inline]
pub fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let narrow = u32::from_le_bytes(key).rotate_right(8 * (offset as u32 & 3));
    let (wide, key) = ((u64::from(narrow) << 32 | u64::from(narrow)).to_le(), narrow.to_le_bytes());
    // Eight bytes at a time: the compiler makes vector instructions of it.
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Writes the payload of a short frame without its mask to a place of the same length: in words of
/// eight bytes, of which the last two may overlap, so that what reads it next finds whole words.
#[inline]
pub(crate) fn unmask_into(out: &mut [u8], payload: &[u8], key: [u8; 4]) {
    let Some(last) = payload.last_chunk::<8>().filter(|_| out.len() == payload.len()) else {
        for (index, (to, from)) in out.iter_mut().zip(payload).enumerate() {
            *to = from ^ key[index & 3];
        }
        return;
    };
    let wide = |offset: usize| {
        let narrow = u32::from_le_bytes(key).rotate_right(8 * (offset as u32 & 3));
        u64::from(narrow) << 32 | u64::from(narrow)
    };
    let unmask = |word: &[u8; 8], wide: u64| (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    let first = wide(0);
    for (to, from) in out.as_chunks_mut::<8>().0.iter_mut().zip(payload.as_chunks::<8>().0) {
        *to = unmask(from, first);
    }
    let end = unmask(last, wide(payload.len() - 8));
    if let Some(to) = out.last_chunk_mut::<8>() {
        *to = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_one_byte_at_a_time(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            key in any::<[u8; 4]>(),
            offset in 0usize..9,
        ) {
            let naive: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ key[(i + offset) % 4]).collect();
            let mut fast = bytes;
            apply_mask(&mut fast, key, offset);
            prop_assert_eq!(fast, naive);
        }

        #[test]
        fn unmasking_elsewhere_agrees_with_unmasking_in_place(
            bytes in proptest::collection::vec(any::<u8>(), 0..70),
            key in any::<[u8; 4]>(),
        ) {
            let mut elsewhere = vec![0; bytes.len()];
            unmask_into(&mut elsewhere, &bytes, key);
            let mut here = bytes;
            apply_mask(&mut here, key, 0);
            prop_assert_eq!(elsewhere, here);
        }
    }
}
