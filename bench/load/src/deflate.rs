//! permessage-deflate without context takeover (RFC 7692, section 7.2), by stock zlib.

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The end of a flushed block, which is left out of a message.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Compresses one message at zlib's default level.
pub(crate) fn compress(payload: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(payload.len() + 64);
    // Room enough for what cannot be compressed: a call is all it takes, and it cannot fail.
    let _ = Compress::new(Compression::new(6), false).compress_vec(payload, &mut compressed, FlushCompress::Sync);
    compressed.truncate(compressed.len().saturating_sub(TAIL.len()));
    compressed
}

/// Inflates one message that must not refer to any other, into exactly `size` bytes.
pub(crate) fn inflate(compressed: &[u8], size: usize) -> Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(size + 64);
    let input = [compressed, &TAIL].concat();
    let mut inflater = Decompress::new(false);
    inflater
        .decompress_vec(&input, &mut payload, FlushDecompress::Sync)
        .context("the compressed message cannot be inflated by itself")?;
    ensure!(payload.len() == size, "the compressed message inflates to {} bytes instead of {size}", payload.len());
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_inflates_to_the_same() {
        let payload = b"Hello, Hello, Hello".repeat(10);
        let compressed = compress(&payload);
        assert!(compressed.len() < payload.len());
        assert_eq!(inflate(&compressed, payload.len()).unwrap(), payload);
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        // RFC 7692, section 7.2.3.1.
        assert_eq!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 5).unwrap(), b"Hello");
        assert!(inflate(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 6).is_err());
    }
}
