//! UTF-8 as it arrives (RFC 6455 §8.1): fails at the first byte that cannot be right.

use simdutf8::compat::from_utf8;

use crate::error::ProtocolError;

/// Checks a text that comes in pieces; holds at most three bytes of a split character.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Utf8Stream {
    carry: [u8; 3],
    len: u8,
}

impl Utf8Stream {
    /// Checks the next piece.
    pub(crate) fn push(&mut self, mut piece: &[u8]) -> Result<(), ProtocolError> {
        if self.len > 0 {
            piece = &piece[self.complete(piece)?..];
            if self.len > 0 {
                return Ok(());
            }
        }
        match from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(ProtocolError::Utf8),
            Err(error) => {
                let rest = &piece[error.valid_up_to()..];
                self.carry[..rest.len()].copy_from_slice(rest);
                self.len = rest.len() as u8;
                Ok(())
            }
        }
    }

    /// The text is over: no character may be incomplete.
    pub(crate) fn finish(self) -> Result<(), ProtocolError> {
        if self.len == 0 { Ok(()) } else { Err(ProtocolError::Utf8) }
    }

    /// Completes the split character; returns how many bytes of `piece` it took.
    fn complete(&mut self, piece: &[u8]) -> Result<usize, ProtocolError> {
        let mut character = [0; 4];
        let carried = usize::from(self.len);
        character[..carried].copy_from_slice(&self.carry[..carried]);
        for (taken, byte) in piece.iter().enumerate() {
            let end = carried + taken + 1;
            character[end - 1] = *byte;
            match std::str::from_utf8(&character[..end]) {
                Ok(_) => {
                    self.len = 0;
                    return Ok(taken + 1);
                }
                Err(error) if error.error_len().is_some() => return Err(ProtocolError::Utf8),
                Err(_) => {}
            }
        }
        let end = carried + piece.len();
        self.carry[..end].copy_from_slice(&character[..end]);
        self.len = end as u8;
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the standard library says about a prefix: can it still become valid?
    fn can_become_valid(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let valid = ".{0,8}".prop_map(String::into_bytes);
        let broken =
            proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xf4), Just(0x90), Just(0xed), Just(0xa0)], 0..8);
        (valid, broken).prop_map(|(mut valid, broken)| {
            valid.extend(broken);
            valid
        })
    }

    proptest! {
        #[test]
        fn fails_at_the_first_bad_byte_however_it_is_split(bytes in bytes(), cuts in proptest::collection::vec(1usize..5, 1..20)) {
            let mut stream = Utf8Stream::default();
            let (mut pos, mut cuts) = (0, cuts.into_iter().cycle());
            while pos < bytes.len() {
                let end = (pos + cuts.next().unwrap_or(1)).min(bytes.len());
                let fine = stream.push(&bytes[pos..end]).is_ok();
                prop_assert_eq!(fine, can_become_valid(&bytes[..end]));
                if !fine {
                    return Ok(());
                }
                pos = end;
            }
            prop_assert_eq!(stream.finish().is_ok(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
