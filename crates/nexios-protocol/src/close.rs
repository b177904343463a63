//! Close codes and reasons (RFC 6455 §7.4).

use std::fmt;

/// "No status received": seen by the application, never sent (RFC 6455 §7.4.1).
pub const NO_STATUS: u16 = 1005;
/// "Closed abnormally": seen by the application, never sent (RFC 6455 §7.4.1).
pub const ABNORMAL: u16 = 1006;

/// Longest reason in bytes: a control frame's 125 less the code.
const REASON_BYTES_MAX: usize = 123;

/// A close code that may stand in a Close frame.
///
/// ```
/// use nexios_protocol::CloseCode;
/// assert_eq!(CloseCode::new(4001).map(CloseCode::get), Some(4001));
/// assert_eq!(CloseCode::new(1006), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CloseCode(u16);

/// The number may not stand in a Close frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} cannot be sent as a close code: use 1000-1003, 1007-1014 or 3000-4999")]
pub struct InvalidCloseCode(pub u16);

/// The content of a Close frame that has any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseFrame<'a> {
    /// Why, as a number.
    pub code: CloseCode,
    /// Why, in words; at most 123 bytes.
    pub reason: &'a str,
}

impl CloseCode {
    /// 1000: done.
    pub const NORMAL: Self = CloseCode(1000);
    /// 1001: the page was left, or the server goes down.
    pub const GOING_AWAY: Self = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = CloseCode(1002);
    /// 1003: a kind of message that is not taken here.
    pub const UNSUPPORTED_DATA: Self = CloseCode(1003);
    /// 1007: text that is not UTF-8, or malformed content.
    pub const INVALID_PAYLOAD: Self = CloseCode(1007);
    /// 1008: not allowed.
    pub const POLICY_VIOLATION: Self = CloseCode(1008);
    /// 1009: larger than the limit.
    pub const MESSAGE_TOO_BIG: Self = CloseCode(1009);
    /// 1010: the client needs an extension that it did not get.
    pub const MANDATORY_EXTENSION: Self = CloseCode(1010);
    /// 1011: the server failed.
    pub const INTERNAL_ERROR: Self = CloseCode(1011);
    /// 1012: the server restarts; come back.
    pub const SERVICE_RESTART: Self = CloseCode(1012);
    /// 1013: overloaded; come back later.
    pub const TRY_AGAIN_LATER: Self = CloseCode(1013);
    /// 1014: a server behind this one failed.
    pub const BAD_GATEWAY: Self = CloseCode(1014);

    /// The code with this number, if it may be sent.
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(number)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    fn try_from(number: u16) -> Result<Self, InvalidCloseCode> {
        CloseCode::new(number).ok_or(InvalidCloseCode(number))
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The reason, cut to what fits into a Close frame, at the boundary of a character.
///
/// ```
/// use nexios_protocol::truncate_reason;
/// assert_eq!(truncate_reason("short"), "short");
/// assert_eq!(truncate_reason(&"ä".repeat(100)).len(), 122);
/// ```
pub fn truncate_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}
