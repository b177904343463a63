//! What a peer may make us hold.

/// Limits of one connection's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest message in bytes, after inflating; then 1009. `None`: no limit.
    pub message_bytes_max: Option<usize>,
    /// Most fragments of a message; then 1008. `None`: no limit.
    pub fragments_max: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message_bytes_max: Some(1 << 20), fragments_max: Some(1024) }
    }
}

impl Limits {
    /// Where there is no limit, the largest that can still be counted past.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message_bytes_max.unwrap_or(usize::MAX - 1)
    }
}
