//! Facts of one part of a connection, one bit each, so that an idle connection stays small.

/// A byte of facts. Each part names its own bits and shows what they mean by its methods.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Bits(u8);

impl Bits {
    /// Returns true if one of these bits is set.
    #[inline]
    pub(super) fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Returns which of these bits are set.
    #[inline]
    pub(super) fn among(self, bits: u8) -> u8 {
        self.0 & bits
    }

    #[inline]
    pub(super) fn set(&mut self, bits: u8, on: bool) {
        self.0 = if on { self.0 | bits } else { self.0 & !bits };
    }

    /// Sets the bits. Returns true if none of them was set.
    #[inline]
    pub(super) fn raise(&mut self, bits: u8) -> bool {
        let is_news = !self.has(bits);
        self.set(bits, true);
        is_news
    }

    /// Clears the bits. Returns true if one of them was set.
    #[inline]
    pub(super) fn take(&mut self, bits: u8) -> bool {
        let was_set = self.has(bits);
        self.set(bits, false);
        was_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_changes_no_other() {
        let mut bits = Bits::default();
        assert!(bits.raise(0b001) && !bits.raise(0b001) && bits.raise(0b100));
        bits.set(0b010, false);
        assert_eq!(bits.among(0b111), 0b101);
        assert!(bits.take(0b001) && !bits.take(0b001) && bits.has(0b100));
    }
}
