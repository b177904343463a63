//! What a seed does to its world.

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Messages take another time from now on.
    Delay,
    /// Some of what subscribers should get is lost without a word.
    Loss,
    /// Sessions end in the middle of batches.
    Torn,
    /// Batches are refused.
    Refused,
    /// The broker says that it cannot do something now, or that another server may.
    Later,
    /// Whoever connects finds a server that is of no use.
    Useless,
    /// A node's session is lost.
    Cut,
    /// A node and the broker do not hear each other any more,
    Part,
    /// and do so again.
    Heal,
    /// The broker goes away, perhaps with all that it has kept,
    Down {
        /// Nothing is there when it comes back.
        forgets: bool,
    },
    /// and comes back.
    Up,
    /// A node fails; another takes its place.
    Crash,
    /// The same, but it ends by its own will.
    Stop,
}

/// What happens while the last messages are sent, behind which nothing shows that something is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Nothing,
    /// A session is lost.
    Cut,
    /// All of them come at once.
    Lag,
}

/// What is fixed for a whole run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Nodes end in this run, so that what they had not sent can never be counted.
    pub(super) nodes_end: bool,
    pub(super) end: End,
    pub(super) events: usize,
    /// Limit of the room's history.
    pub(super) history: usize,
    pub(super) incoming_bytes_max: usize,
    pub(super) outgoing_messages_max: usize,
    pub(super) outbox_bytes_max: usize,
    /// How long users stay in presence after their connections.
    pub(super) leave_delay_ms: u64,
    kinds: Vec<Event>,
}

const ALL: [Event; 8] =
    [Event::Delay, Event::Loss, Event::Torn, Event::Refused, Event::Later, Event::Useless, Event::Cut, Event::Part];

impl Plan {
    pub(super) fn new(random: &mut fastrand::Rng) -> Self {
        let nodes_end = random.bool();
        let mut kinds: Vec<Event> = ALL.into_iter().filter(|_| random.bool()).collect();
        if kinds.contains(&Event::Part) {
            kinds.push(Event::Heal);
        }
        if random.bool() {
            kinds.extend([Event::Down { forgets: false }, Event::Up, Event::Up]);
        }
        if random.u8(..3) == 0 {
            kinds.extend([Event::Down { forgets: true }, Event::Up, Event::Up]);
        }
        if nodes_end {
            kinds.extend([Event::Crash, Event::Stop]);
        }
        // What is said again is looked for among what the room still has.
        let again = [
            Event::Torn,
            Event::Later,
            Event::Cut,
            Event::Part,
            Event::Down { forgets: false },
            Event::Down { forgets: true },
        ];
        let (sizes, ends) = match kinds.iter().any(|kind| again.contains(kind)) {
            true => ([300, 3000], [End::Nothing, End::Cut, End::Lag]),
            false => ([5, 50], [End::Nothing, End::Nothing, End::Lag]),
        };
        Plan {
            nodes_end,
            end: random.choice(ends).unwrap_or(End::Nothing),
            events: random.usize(10..30),
            history: random.choice(sizes).unwrap_or(3000),
            incoming_bytes_max: random.choice([500, 3000, 1 << 20]).unwrap_or(3000),
            outgoing_messages_max: random.choice([5, 1000]).unwrap_or(1000),
            outbox_bytes_max: random.choice([4 << 10, 1 << 20]).unwrap_or(4096),
            leave_delay_ms: random.choice([0, 2000]).unwrap_or(0),
            kinds,
        }
    }

    pub(super) fn event(&self, random: &mut fastrand::Rng) -> Event {
        random.choice(self.kinds.iter()).copied().unwrap_or(Event::Delay)
    }
}
