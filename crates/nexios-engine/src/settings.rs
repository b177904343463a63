//! Every limit and its default: per connection ([`Settings`]) and per server ([`ServerSettings`]).

use std::time::Duration;

use nexios_protocol::Limits;

/// A head's parts are found by offsets of 16 bits.
const HEAD_BYTES_MAX: usize = 65_535;
/// A field has four bytes at least.
const HEADERS_MAX: usize = 16_384;

/// What holds for the connections of one route; shared by all of them.
///
/// ```
/// use std::time::Duration;
/// use nexios_engine::Settings;
/// let strict = Settings { message_bytes_max: Some(4096), ..Settings::default() };
/// assert_eq!(strict.ping_interval, Some(Duration::from_secs(20)));
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest message in bytes, after inflating; a larger one closes 1009. `None`: no limit.
    pub message_bytes_max: Option<usize>,
    /// Most fragments of one message; more close 1008. `None`: no limit.
    pub fragments_max: Option<u32>,
    /// Longest silence in the middle of a message; closes 1008.
    pub fragment_timeout: Duration,
    /// Time for a whole message, from its first frame to its last, while reading is not paused; then 1008. `None`: no limit.
    pub message_timeout: Option<Duration>,
    /// Time for the handler to accept; then HTTP 504.
    pub accept_timeout: Duration,
    /// Mean time between pings, spread by ± 20 %. `None`: no pings.
    pub ping_interval: Option<Duration>,
    /// Time for the pong; then the connection is cut (1006).
    pub ping_timeout: Duration,
    /// Time for the peer's answer to our Close frame; then the connection is cut.
    pub close_timeout: Duration,
    /// Above this many unsent bytes sends wait and the slow-client policy acts.
    pub outbox_mark_bytes: usize,
    /// More unsent bytes than this are never held for one connection (one message always fits).
    pub outbox_bytes_max: usize,
    /// Longest time without a byte written while output waits; closes 1013.
    pub drain_timeout: Duration,
    /// Most received messages waiting for the handler; then reading pauses.
    pub inbox_messages_max: usize,
    /// Most received bytes waiting for the handler; then reading pauses (one message always fits).
    pub inbox_bytes_max: usize,
    /// Most unasked control frames in a second; more close 1008.
    pub control_frames_per_second_max: u32,
    /// permessage-deflate (RFC 7692); `None` declines it.
    pub compression: Option<Compression>,
    /// What a broadcast does to a client that does not keep up.
    pub slow_client: SlowClient,
    /// Bytes that the kernel may hold unsent for one connection (`TCP_NOTSENT_LOWAT`, of a Unix socket its send
    /// buffer): what lies there cannot be dropped or replaced any more. `None`: 128 KiB, under
    /// [`SlowClient::Conflate`] 32 KiB.
    pub kernel_bytes_max: Option<usize>,
    /// Whether the request head is kept after accept; without it an idle connection is smaller.
    pub keep_head: bool,
}

/// How permessage-deflate is negotiated and used (RFC 7692).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// Keep the window between messages: smaller output, some 150 KiB for each connection.
    pub context_takeover: bool,
    /// Size of our window as a power of two, 9 to 15.
    pub window_bits: u8,
    /// Effort, 1 (fast) to 9 (small).
    pub level: u8,
    /// Shorter messages are sent as they are.
    pub message_bytes_min: usize,
}

/// What a broadcast does to a client whose outbox is above its mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SlowClient {
    /// Queue up to the limit; close 1013 at the limit or after the drain timeout.
    #[default]
    Close,
    /// Leave the new message out for this client.
    DropNewest,
    /// Drop this client's oldest queued broadcasts until the new one fits under the mark.
    DropOldest,
    /// Keep only the newest queued broadcast of each key.
    Conflate,
}

/// What holds for the whole server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Time for the TLS handshake and the request head together; then 408.
    pub head_timeout: Duration,
    /// Largest request head in bytes, at most 65,535; then 431.
    pub head_bytes_max: usize,
    /// Most header fields, at most 16,384; then 431.
    pub headers_max: usize,
    /// Longest wait for a client of plain HTTP that does not go on with a body, or does not take an answer: then 408
    /// where nothing is answered yet, else the connection is reset. Bytes that move give time back, a second for each
    /// [`http_bytes_per_second_min`](Self::http_bytes_per_second_min). `None`: for ever.
    pub http_stall_timeout: Option<Duration>,
    /// The rate below which a client of plain HTTP is given up in the end. 0: any byte is enough.
    pub http_bytes_per_second_min: usize,
    /// Most connections of the process, and files that are being sent. `None`: 80 % of its file descriptors.
    pub connections_max: Option<usize>,
    /// Most connections of one host (an IPv6 /64 is one host); more get 503 with Retry-After. Connections through a
    /// trusted proxy count for the clients that it names, from their upgrade on; those whose client is unknown count
    /// together. `None`: no limit.
    pub connections_per_host_max: Option<usize>,
    /// New connections taken in a second; more get 503 with Retry-After. `None`: no limit.
    pub accept_rate_max: Option<u32>,
    /// Most bytes of messages that are incomplete or wait for their handlers, of all connections together; each
    /// shard has its share of them. Beyond, the connections that hold most are ended with 1013. `None`: an
    /// eighth of the memory, of the control group's where it is limited.
    pub waiting_bytes_max: Option<usize>,
    /// Time for handlers to end at shutdown; then they are cancelled.
    pub shutdown_grace: Duration,
    /// Bytes that one read takes at most.
    pub read_buffer_bytes: usize,
    /// What holds for a connection before its route is known.
    pub connection: Settings,
}

/// A setting that cannot be kept to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name} {value} is out of range (1-{max})")]
pub struct InvalidSetting {
    name: &'static str,
    value: usize,
    max: usize,
}

impl ServerSettings {
    /// Checks what has a range.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the setting, its value and the range.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let ranges =
            [("head_bytes_max", self.head_bytes_max, HEAD_BYTES_MAX), ("headers_max", self.headers_max, HEADERS_MAX)];
        match ranges.into_iter().find(|(_, value, max)| !(1..=*max).contains(value)) {
            None => Ok(()),
            Some((name, value, max)) => Err(InvalidSetting { name, value, max }),
        }
    }
}

/// Under [`SlowClient::Conflate`], where newer values are to replace what has not gone out.
const KERNEL_BYTES_OF_VALUES: usize = 32 << 10;

impl Settings {
    /// Returns the limit of unsent bytes in the kernel, where it is not the listener's.
    #[inline]
    pub(crate) fn kernel_bytes(&self) -> Option<usize> {
        let values = self.slow_client == SlowClient::Conflate;
        self.kernel_bytes_max.or(values.then_some(KERNEL_BYTES_OF_VALUES))
    }

    /// Bytes that one write takes at most: the kernel takes a last one beyond its mark, which is the other half.
    #[inline]
    pub(crate) fn step_bytes_max(&self) -> usize {
        self.kernel_bytes().map_or(usize::MAX, |bytes| (bytes / 2).max(1))
    }

    /// What the protocol has to know.
    pub(crate) fn limits(&self) -> Limits {
        Limits { message_bytes_max: self.message_bytes_max, fragments_max: self.fragments_max }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            message_bytes_max: Some(1 << 20),
            fragments_max: Some(1024),
            fragment_timeout: Duration::from_secs(30),
            message_timeout: Some(Duration::from_secs(120)),
            accept_timeout: Duration::from_secs(30),
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            outbox_mark_bytes: 64 << 10,
            outbox_bytes_max: 1 << 20,
            drain_timeout: Duration::from_secs(5),
            inbox_messages_max: 64,
            inbox_bytes_max: 256 << 10,
            control_frames_per_second_max: 100,
            compression: Some(Compression::default()),
            slow_client: SlowClient::default(),
            kernel_bytes_max: None,
            keep_head: true,
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression { context_takeover: false, window_bits: 15, level: 2, message_bytes_min: 1024 }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            head_timeout: Duration::from_secs(10),
            head_bytes_max: 8 << 10,
            headers_max: 64,
            http_stall_timeout: Some(Duration::from_secs(30)),
            http_bytes_per_second_min: 256,
            connections_max: None,
            connections_per_host_max: None,
            accept_rate_max: None,
            waiting_bytes_max: None,
            shutdown_grace: Duration::from_secs(30),
            read_buffer_bytes: 256 << 10,
            connection: Settings::default(),
        }
    }
}
