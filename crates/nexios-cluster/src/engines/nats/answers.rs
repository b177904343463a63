//! What the answers of NATS and JetStream say of a request.

use std::error::Error;

use async_nats::client::PublishErrorKind as CoreErrorKind;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{ConnectError, ConnectErrorKind};

use crate::engines::link::LinkError;

/// Classifies why a server cannot be connected to.
pub(super) fn connecting(error: ConnectError) -> LinkError {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            LinkError::Refused(error.to_string())
        }
        _ => LinkError::lost(error),
    }
}

/// Classifies why a message without a stream was not published.
pub(super) fn core_publish_error(error: async_nats::PublishError) -> LinkError {
    match error.kind() {
        CoreErrorKind::MaxPayloadExceeded | CoreErrorKind::InvalidSubject => LinkError::Refused(error.to_string()),
        CoreErrorKind::Send => LinkError::lost(error),
    }
}

/// Classifies why a message was not stored.
pub(super) fn publish_error(error: PublishError) -> LinkError {
    let code =
        error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()).map(|error| error.error_code());
    of_kind(error.kind(), code, error.to_string())
}

fn of_kind(kind: PublishErrorKind, code: Option<ErrorCode>, reason: String) -> LinkError {
    match (kind, code) {
        (PublishErrorKind::MaxPayloadExceeded, _) => LinkError::Refused(reason),
        // Nobody listens to the subject: nothing is stored, and there is no leader just now.
        (PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending, _) => LinkError::Later(reason),
        (PublishErrorKind::Other, Some(code)) => answered(code, reason),
        // No acknowledgement: it may be stored.
        _ => LinkError::Lost(reason),
    }
}

/// Classifies an error that JetStream has answered: the message is not stored.
fn answered(code: ErrorCode, reason: String) -> LinkError {
    match code {
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::CLUSTER_NOT_ACTIVE
        | ErrorCode::CLUSTER_NOT_ASSIGNED
        | ErrorCode::CLUSTER_INCOMPLETE
        | ErrorCode::CLUSTER_NO_PEERS
        | ErrorCode::PEER_REMAP
        | ErrorCode::RAFT_GENERAL
        | ErrorCode::STREAM_OFFLINE => LinkError::Later(reason),
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::TEMP_STORAGE_FAILED => LinkError::Unable(reason),
        _ => LinkError::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_jetstream_says_what_is_done_next() {
        for (code, expected) in [
            (ErrorCode::CLUSTER_NOT_AVAILABLE, "later"),
            (ErrorCode::CLUSTER_NOT_LEADER, "later"),
            (ErrorCode::CLUSTER_NO_PEERS, "later"),
            (ErrorCode::RAFT_GENERAL, "later"),
            (ErrorCode::STREAM_OFFLINE, "later"),
            (ErrorCode::INSUFFICIENT_RESOURCES, "unable"),
            (ErrorCode::STORAGE_RESOURCES_EXCEEDED, "unable"),
            (ErrorCode::STREAM_STORE_FAILED, "unable"),
            (ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, "refused"),
            (ErrorCode::STREAM_SEALED, "refused"),
            (ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT, "refused"),
            (ErrorCode(19999), "refused"),
        ] {
            let error = of_kind(PublishErrorKind::Other, Some(code), "no".to_owned());
            assert_eq!(error.kind(), expected, "{code:?}");
        }
    }

    #[test]
    fn what_is_not_acknowledged_may_be_stored() {
        for (of, expected) in [
            (PublishErrorKind::TimedOut, "lost"),
            (PublishErrorKind::BrokenPipe, "lost"),
            (PublishErrorKind::Other, "lost"),
            (PublishErrorKind::StreamNotFound, "later"),
            (PublishErrorKind::MaxAckPending, "later"),
            (PublishErrorKind::MaxPayloadExceeded, "refused"),
        ] {
            assert_eq!(of_kind(of, None, "no".to_owned()).kind(), expected, "{of}");
        }
    }
}
