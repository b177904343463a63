//! What was read last, on its way through the protocol: one buffer for all connections of a shard.

/// The read buffer, and what in it is not parsed yet.
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(capacity: usize) -> Self {
        Input { buffer: vec![0; capacity], start: 0, end: 0 }
    }

    /// The whole buffer, to read into; what was in it is dealt with.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.end = 0;
        &mut self.buffer
    }

    /// So many bytes were read into [`space`](Self::space).
    pub(crate) fn filled(&mut self, n: usize) {
        self.start = 0;
        self.end = n;
    }

    /// Takes over bytes that were read earlier.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.buffer.len() {
            self.buffer.resize(bytes.len(), 0);
        }
        self.buffer[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// What is left to parse.
    #[inline]
    pub(crate) fn left(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// What is left to parse, how much that is, and behind it whatever the buffer holds.
    #[inline]
    pub(crate) fn left_and_more(&self) -> (&[u8], usize) {
        (&self.buffer[self.start..], self.end - self.start)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// So many bytes of it are parsed.
    #[inline]
    pub(crate) fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_not_seen_again() {
        let mut input = Input::new(8);
        input.space()[..3].copy_from_slice(b"abc");
        input.filled(3);
        input.advance(2);
        assert_eq!(input.left(), b"c");
        input.advance(9);
        assert!(input.is_empty() && input.left().is_empty());
    }

    #[test]
    fn bytes_that_wait_may_be_more_than_one_read_takes() {
        let mut input = Input::new(4);
        input.put(b"0123456789");
        assert_eq!(input.left(), b"0123456789");
        assert_eq!(input.space().len(), 10);
    }
}
