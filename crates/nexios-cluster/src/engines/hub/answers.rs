//! What the hub's answers, and their absence, say of a request.

use std::io::{self, ErrorKind};

use crate::engines::link::LinkError;

/// Classifies why the hub's socket cannot be connected to: a hub that is not there may come.
pub(super) fn connecting(error: io::Error) -> LinkError {
    match error.kind() {
        // A path that is too long, or of a socket that this user may not open.
        ErrorKind::InvalidInput | ErrorKind::PermissionDenied => LinkError::Refused(error.to_string()),
        _ => LinkError::lost(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_is_not_there_may_come_and_one_that_may_not_be_opened_is_a_refusal() {
        for (kind, is_refusal) in [
            (ErrorKind::NotFound, false),
            (ErrorKind::ConnectionRefused, false),
            (ErrorKind::ConnectionReset, false),
            (ErrorKind::WouldBlock, false),
            (ErrorKind::TimedOut, false),
            (ErrorKind::PermissionDenied, true),
            (ErrorKind::InvalidInput, true),
        ] {
            let error = connecting(io::Error::from(kind));
            assert_eq!(matches!(error, LinkError::Refused(_)), is_refusal, "{kind:?}: {error:?}");
        }
    }
}
