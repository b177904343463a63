//! The ends of connections, and their consequences (`docs/protocol.md`, "The end").

use std::fmt;
use std::time::Duration;

/// The sort of end of a connection, in the words that all clients share.
///
/// ```
/// assert_eq!(nexios_client::CloseKind::TryAgainLater.as_str(), "try-again-later");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloseKind {
    /// 1000.
    Normal,
    /// 1001.
    GoingAway,
    /// 1002, or the server does not speak `nexios.v1`.
    Protocol,
    /// 1003, 1007.
    InvalidData,
    /// 1005, 1006: without a Close frame, or without a code in it.
    Lost,
    /// 1008.
    Policy,
    /// 1009.
    TooBig,
    /// 1011.
    ServerError,
    /// 1012.
    Restart,
    /// 1013.
    TryAgainLater,
    /// 1014.
    BadGateway,
    /// The handshake was answered with another status than 101.
    Refused,
    /// 3000 to 4999.
    Application,
    /// Any other code.
    Unknown,
}

impl CloseKind {
    pub(crate) fn of(code: u16) -> CloseKind {
        match code {
            1000 => CloseKind::Normal,
            1001 => CloseKind::GoingAway,
            1002 => CloseKind::Protocol,
            1003 | 1007 => CloseKind::InvalidData,
            0 | 1005 | 1006 => CloseKind::Lost,
            1008 => CloseKind::Policy,
            1009 => CloseKind::TooBig,
            1011 => CloseKind::ServerError,
            1012 => CloseKind::Restart,
            1013 => CloseKind::TryAgainLater,
            1014 => CloseKind::BadGateway,
            3000..=4999 => CloseKind::Application,
            _ => CloseKind::Unknown,
        }
    }

    /// Returns the word that all clients use.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseKind::Normal => "normal",
            CloseKind::GoingAway => "going-away",
            CloseKind::Protocol => "protocol",
            CloseKind::InvalidData => "invalid-data",
            CloseKind::Lost => "lost",
            CloseKind::Policy => "policy",
            CloseKind::TooBig => "too-big",
            CloseKind::ServerError => "server-error",
            CloseKind::Restart => "restart",
            CloseKind::TryAgainLater => "try-again-later",
            CloseKind::BadGateway => "bad-gateway",
            CloseKind::Refused => "refused",
            CloseKind::Application => "application",
            CloseKind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CloseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The close code of a server that does not accept the client's token.
const UNAUTHORIZED: u16 = 4401;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const TRY_AGAIN_LATER: Duration = Duration::from_secs(10);

/// The end of a connection or attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// The connection was lost, or could not be made.
    Lost,
    /// The server sent a Close frame.
    Close,
    /// The server sent `closing`; true if it named a window for reconnecting.
    Closing(bool),
    /// The handshake was answered with this status.
    Refused { status: u16, retry_after: Option<Duration> },
    /// The server did not select `nexios.v1`.
    NotSpoken,
    /// The server sent a frame that cannot be read.
    Malformed,
}

/// The consequence of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Another attempt, after this time on top of the ordinary one, and this one at least.
    Retry {
        more: Duration,
        least: Duration,
    },
    /// Another attempt with another token, or parked.
    Authorize,
    Park,
}

impl End {
    pub(crate) fn lost(reason: impl Into<String>) -> Self {
        End { code: nexios_protocol::ABNORMAL, reason: reason.into(), cause: Cause::Lost }
    }

    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        End { code: 1002, reason: reason.into(), cause: Cause::Malformed }
    }

    pub(crate) fn kind(&self) -> CloseKind {
        match self.cause {
            Cause::Refused { .. } => CloseKind::Refused,
            _ => CloseKind::of(self.code),
        }
    }

    /// Returns true if the server blamed a message that it received. Such a message is not sent again.
    pub(crate) fn is_rejection(&self) -> bool {
        self.cause == Cause::Close && matches!(self.code, 1002 | 1003 | 1007..=1009)
    }

    pub(crate) fn next(&self) -> Next {
        let retry = Next::Retry { more: Duration::ZERO, least: Duration::ZERO };
        match self.cause {
            Cause::Closing(_) | Cause::Close if self.code == UNAUTHORIZED => Next::Authorize,
            Cause::Refused { status: 401, .. } => Next::Authorize,
            Cause::Lost | Cause::Malformed | Cause::Closing(true) => retry,
            Cause::Closing(false) | Cause::NotSpoken => Next::Park,
            Cause::Refused { status: 429 | 503, retry_after } => {
                Next::Retry { more: Duration::ZERO, least: retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) }
            }
            Cause::Refused { status: 408 | 425 | 500..=599, .. } => retry,
            Cause::Refused { .. } => Next::Park,
            Cause::Close => match self.code {
                1013 => Next::Retry { more: TRY_AGAIN_LATER, least: Duration::ZERO },
                0 | 1001..=1003 | 1005..=1009 | 1011 | 1012 | 1014 | 1015 => retry,
                _ => Next::Park,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_unless_the_server_has() {
        let next = |code, cause| End { code, reason: String::new(), cause }.next();
        for code in [0, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 1015] {
            assert!(matches!(next(code, Cause::Close), Next::Retry { .. }), "{code}");
            assert_eq!(next(code, Cause::Closing(false)), Next::Park, "{code}");
        }
        for code in [1000, 1004, 1010, 1016, 2999, 3000, 4000, 4999] {
            assert_eq!(next(code, Cause::Close), Next::Park, "{code}");
            assert!(matches!(next(code, Cause::Closing(true)), Next::Retry { .. }), "{code}");
        }
        assert_eq!(next(4401, Cause::Close), Next::Authorize);
    }
}
