//! permessage-deflate (RFC 7692): what is agreed on, and the streams.

mod codec;
mod inflate;
mod negotiation;

pub use codec::{Codec, ContextDeflater};
pub(crate) use inflate::Inflater;
pub(crate) use negotiation::accept_response;
pub use negotiation::{Agreed, DeflateConfig, DeflateOffer, negotiate, offer_header, parse_offers};
