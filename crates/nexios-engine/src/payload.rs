//! The bytes of a message in 23 bytes that need no alignment: short ones inline, others shared.
//!
//! So a message with its kind takes 24 bytes instead of 32, and a short one is moved and sent in whole words. A handler
//! that waits to send a message holds it: that spares 16 bytes of each idle connection, which takes 249 without its
//! head. Of 256 messages of 20 bytes in flight each takes 54 ns instead of 106
//! (`bench/README.md`, "Where the bytes of an idle connection are", "Where the time of a pipelined message went"):
//!
//! ```sh
//! cargo run --release -p runner -- run --workloads idle-5000,idle-15000 --peers nexios,nexios-drop-head
//! cargo run --release -p runner -- run --workloads pipeline-256 --peers nexios,uwebsockets
//! ```
//!
//! The only file with `unsafe`; each block has its reason, and a test compares it with its safe twin.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::sync::Arc;

use nexios_protocol::{SHORT_BYTES_MAX, ShortBytes, ShortText};

/// Bytes that are cheap to clone.
#[derive(Clone)]
pub(crate) enum Payload {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Shared(Shared),
}

/// A [`Payload`] in UTF-8.
#[derive(Clone)]
pub(crate) struct TextPayload(Payload);

/// An `Arc` at any address.
#[repr(Rust, packed)]
pub(crate) struct Shared(Arc<Vec<u8>>);

impl Payload {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Short { len, bytes } => &bytes[..usize::from(*len).min(SHORT_BYTES_MAX)],
            Payload::Shared(shared) => shared.as_vec(),
        }
    }

    /// Without a copy where nobody else holds them.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Payload::Shared(Shared(arc)) => Arc::try_unwrap(arc).unwrap_or_else(|arc| arc.to_vec()),
            Payload::Short { .. } => self.as_slice().to_vec(),
        }
    }
}

impl TextPayload {
    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        // SAFETY: it is made of a `str`, a `String` or a `ShortText` and never changed.
        unsafe { std::str::from_utf8_unchecked(self.0.as_slice()) }
    }

    /// Without a copy where nobody else holds it.
    pub(crate) fn into_string(self) -> String {
        // SAFETY: as in `as_str`.
        unsafe { String::from_utf8_unchecked(self.0.into_vec()) }
    }
}

impl Shared {
    #[inline]
    fn as_vec(&self) -> &Vec<u8> {
        let arc = self.copied();
        // SAFETY: the `Arc` in `self` keeps the `Vec` where it is, unchanged, for as long as `self` is borrowed.
        unsafe { &*Arc::as_ptr(&arc) }
    }

    /// The `Arc` at an address where it can be used; not counted, and never dropped.
    #[inline]
    fn copied(&self) -> ManuallyDrop<Arc<Vec<u8>>> {
        // SAFETY: the pointer is to an initialized `Arc`, from which nothing is moved: the copy is not dropped.
        ManuallyDrop::new(unsafe { (&raw const self.0).read_unaligned() })
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.copied()))
    }
}

impl From<&[u8]> for Payload {
    #[inline]
    fn from(slice: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES_MAX];
        match bytes.get_mut(..slice.len()) {
            Some(short) => {
                short.copy_from_slice(slice);
                Payload::Short { len: slice.len() as u8, bytes }
            }
            None => Payload::Shared(Shared(Arc::new(slice.to_vec()))),
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(vec: Vec<u8>) -> Self {
        if vec.len() <= SHORT_BYTES_MAX { vec.as_slice().into() } else { Payload::Shared(Shared(Arc::new(vec))) }
    }
}

impl From<ShortBytes> for Payload {
    #[inline]
    fn from(short: ShortBytes) -> Self {
        Payload::Short { len: short.len(), bytes: short.to_array() }
    }
}

impl From<&str> for TextPayload {
    #[inline]
    fn from(text: &str) -> Self {
        TextPayload(text.as_bytes().into())
    }
}

impl From<String> for TextPayload {
    fn from(text: String) -> Self {
        TextPayload(text.into_bytes().into())
    }
}

impl From<ShortText> for TextPayload {
    #[inline]
    fn from(short: ShortText) -> Self {
        TextPayload(short.bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same without `unsafe`.
    #[derive(Clone)]
    struct Twin(Arc<String>);

    impl Twin {
        fn into_string(self) -> String {
            Arc::try_unwrap(self.0).unwrap_or_else(|arc| arc.to_string())
        }
    }

    /// What happens to one payload, or a clone of it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Clone(usize),
        Drop(usize),
        Take(usize),
        Move(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        (0..4, 0usize..8).prop_map(|(kind, index)| match kind {
            0 => Step::Clone(index),
            1 => Step::Drop(index),
            2 => Step::Take(index),
            _ => Step::Move(index),
        })
    }

    /// At an odd address, as in a message.
    type Odd = (TextPayload, bool);

    proptest! {
        #[test]
        fn a_payload_behaves_like_its_twin(
            text in ".{0,40}", owned: bool, steps in proptest::collection::vec(step(), 0..12),
        ) {
            let first: TextPayload = if owned { text.clone().into() } else { text.as_str().into() };
            let mut payloads: Vec<Odd> = vec![(first, true)];
            let mut twins = vec![Twin(Arc::new(text))];
            for step in steps {
                if payloads.is_empty() {
                    break;
                }
                let (Step::Clone(index) | Step::Drop(index) | Step::Take(index) | Step::Move(index)) = step;
                let index = index % payloads.len();
                match step {
                    Step::Clone(_) => {
                        payloads.push(payloads[index].clone());
                        twins.push(twins[index].clone());
                    }
                    Step::Drop(_) => {
                        payloads.swap_remove(index);
                        twins.swap_remove(index);
                    }
                    Step::Take(_) => {
                        let (payload, twin) = (payloads.swap_remove(index).0, twins.swap_remove(index));
                        prop_assert_eq!(payload.into_string(), twin.into_string());
                    }
                    Step::Move(_) => {
                        payloads.swap(0, index);
                        twins.swap(0, index);
                    }
                }
                for ((payload, _), Twin(twin)) in payloads.iter().zip(&twins) {
                    prop_assert_eq!(payload.as_str(), twin.as_str());
                }
            }
        }
    }

    #[test]
    fn a_message_takes_three_words() {
        assert_eq!((size_of::<Payload>(), align_of::<Payload>()), (23, 1));
        assert_eq!(size_of::<Option<crate::Message>>(), 24);
    }

    #[test]
    fn what_nobody_else_holds_is_taken_without_a_copy() {
        let text = "x".repeat(100);
        let address = text.as_ptr();
        let taken = TextPayload::from(text).into_string();
        assert_eq!(taken.as_ptr(), address);
    }
}
