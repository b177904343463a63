//! What is so or not so with a connection.

/// One thing that is so or not so. The end of a connection is [`Ending`](super::ending::Ending)'s.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flag {
    /// It holds a place in the server's limits.
    Counted,
    /// It is counted for a host.
    CountedForHost,
    /// On the shard's list of connections with output.
    Dirty,
    /// On the shard's list of connections with unread input.
    Ready,
    /// The last write met a full socket.
    Blocked,
    /// Reading is paused: the inbox is full.
    Paused,
    /// A keepalive's ping waits for its pong.
    WaitsForPong,
    /// A receive waits.
    Receiving,
    /// The handler may take messages straight from the input.
    Lent,
    /// Whoever runs the task right now flushes the outbox behind it.
    Attended,
    /// The connection's own task waits for a message,
    TaskReceives,
    /// for a free outbox,
    TaskSends,
    /// for a message to listen to.
    TaskListens,
    /// Listeners look at each message before it is received.
    Observed,
    /// Somebody has received, or tried to.
    Received,
    /// The handler has received, waited for the end, or ended.
    Engaged,
    /// Received messages are thrown away,
    Discarding,
    /// as long as nobody receives.
    DiscardingUnreceived,
    /// Outbound compression was switched on.
    Compressing,
    /// A subprotocol with frames was agreed on.
    Framed,
    /// The outbox is above its mark, and its groups know.
    OverMark,
    /// Its own task has not ended yet.
    HasTask,
    /// The task was woken by its key since it was last polled.
    Woken,
}

/// The flags that are set; one bit each, so that an idle connection stays small.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & bit(flag) != 0
    }

    pub(crate) fn set(&mut self, flag: Flag, on: bool) {
        self.0 = if on { self.0 | bit(flag) } else { self.0 & !bit(flag) };
    }

    /// Whether output waits for the end of the turn, and nothing but its place in the line is to be
    /// heeded by what is sent next.
    #[inline]
    pub(crate) fn is_corking(self) -> bool {
        const HEEDED: [Flag; 6] =
            [Flag::Dirty, Flag::Blocked, Flag::Compressing, Flag::Framed, Flag::OverMark, Flag::TaskSends];
        let heeded = HEEDED.into_iter().fold(0, |bits, flag| bits | bit(flag));
        self.0 & heeded == bit(Flag::Dirty)
    }

    /// Clears the flag; says whether it was set.
    pub(crate) fn take(&mut self, flag: Flag) -> bool {
        let was_set = self.has(flag);
        self.set(flag, false);
        was_set
    }
}

fn bit(flag: Flag) -> u32 {
    1 << flag as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_changes_no_other() {
        let mut flags = Flags::default();
        flags.set(Flag::Counted, true);
        flags.set(Flag::Woken, true);
        flags.set(Flag::Paused, false);
        assert!(flags.has(Flag::Counted) && flags.has(Flag::Woken) && !flags.has(Flag::Paused));
        assert!(flags.take(Flag::Counted));
        assert!(!flags.take(Flag::Counted) && flags.has(Flag::Woken));
    }
}
