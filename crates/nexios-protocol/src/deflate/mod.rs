//! permessage-deflate (RFC 7692): what is agreed on, and the streams.

mod block;
mod codec;
mod huffman;
mod inflate;
mod matches;
mod negotiation;
mod one_shot;
mod tables;

pub use codec::{Codec, ContextDeflater};
pub(crate) use inflate::Inflater;
pub(crate) use negotiation::accept_response;
pub use negotiation::{Agreed, DeflateConfig, DeflateOffer, negotiate, offer_header, parse_offers};
