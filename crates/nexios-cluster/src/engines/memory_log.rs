//! Logs in memory: what a broker of our own keeps of rooms with history.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nexios_protocol::escaped;
use tokio::time::Instant;

use crate::engines::start_positions::StartPositions;
use crate::history::log::{
    AGAIN_LEN_MAX, Append, Appended, Entry, History, KEY_KEPT, Log, Nonce, PAGE_BYTES_MAX, Page, Position, Span,
};

/// What is kept at most, if not set: 256 MiB.
pub(crate) const BYTES_MAX: usize = 256 << 20;
/// Keys that a log remembers at most; the oldest are forgotten.
const KEYS_MAX: usize = 64 << 10;
/// The time from one look for what is past its time to the next.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Besides its envelope an entry costs about this much.
const ENTRY_COST: usize = 128;
/// Besides its entries and keys a log costs about this much.
const LOG_COST: usize = 512;
/// Besides its text a key costs about this much.
const KEY_COST: usize = 192;
/// Logs that are forgotten are counted in so many places.
const FORGOTTEN_LEN: usize = 1024;

/// The logs of all channels, so many bytes of them at most.
///
/// A log that nobody has used for as long as it keeps entries and keys is forgotten, and so is the
/// one that was used least recently where there is no room; the next append begins another epoch.
/// Where one log alone has no room, its oldest entries go. Reading creates nothing.
pub struct MemoryLog {
    bytes_max: usize,
    bytes: usize,
    by_channel: HashMap<Arc<str>, Kept>,
    /// Channels, the one that was used least recently first.
    by_use: BTreeMap<u64, Arc<str>>,
    uses: u64,
    swept: Option<Instant>,
    start_positions: StartPositions,
    /// How many logs were forgotten, by the hash of their channels: the next count of one is another. Empty
    /// before the first.
    forgotten: Vec<u32>,
    hasher: RandomState,
}

/// One log.
struct Kept {
    /// The position before the first entry.
    origin: Position,
    /// The newest that was ever appended.
    last: (u64, Nonce),
    history: History,
    entries: VecDeque<(Instant, Entry)>,
    keys: HashMap<Arc<str>, Position>,
    key_ages: VecDeque<(Instant, Arc<str>)>,
    bytes: usize,
    used: Instant,
    /// Where it is among the uses of all.
    use_number: u64,
}

impl Default for MemoryLog {
    fn default() -> Self {
        MemoryLog::new(BYTES_MAX)
    }
}

impl MemoryLog {
    pub(crate) fn new(bytes_max: usize) -> Self {
        MemoryLog {
            bytes_max,
            bytes: 0,
            by_channel: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            swept: None,
            start_positions: StartPositions::random(),
            forgotten: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    /// Finds which entries of a repeated batch are stored, looking at each log once.
    pub fn find_again(&self, batch: &[Append]) -> HashMap<Nonce, Position> {
        let now = Instant::now();
        let mut wanted = HashMap::<&str, HashSet<Nonce>>::new();
        for append in batch.iter().filter(|append| append.again) {
            wanted.entry(&append.log.channel).or_default().insert(append.nonce);
        }
        let logs = wanted.iter().filter_map(|(channel, nonces)| Some((self.by_channel.get(*channel)?, nonces)));
        logs.flat_map(|(kept, nonces)| kept.find(nonces, now)).collect()
    }

    /// Appends what [`find_again`](Self::find_again) has not found; returns the entry for the subscribers, unless it was
    /// there before.
    pub fn append(&mut self, append: &Append, before: &HashMap<Nonce, Position>) -> (Appended, Option<Entry>) {
        let before = before.get(&append.nonce).copied();
        self.with(&append.log, |kept, now| kept.append(append, before, now))
    }

    /// Reads. A log that nobody has appended to is not created, and has a position all the same.
    pub fn read(&mut self, log: &Log, span: Span) -> Page {
        if self.by_channel.contains_key(&log.channel) {
            return self.with(log, |kept, _| kept.read(span));
        }
        self.sweep(Instant::now());
        let top = self.origin(&log.channel);
        let recovered = match span {
            Span::Newest(_) | Span::Oldest(_) => true,
            Span::After(position, _) => position == top,
        };
        Page { top, recovered, entries: Vec::new() }
    }

    /// Returns the position before the first entry of the next count of a channel.
    fn origin(&self, channel: &str) -> Position {
        let count = u64::from(self.forgotten.get(self.place(channel)).copied().unwrap_or_default());
        let Nonce(epoch) = self.start_positions.nonce(channel, 2 * count + 1);
        let epoch = epoch.first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes).max(1));
        Position { epoch, offset: 0, nonce: self.start_positions.nonce(channel, 2 * count) }
    }

    /// Returns the place of a channel in `forgotten`.
    fn place(&self, channel: &str) -> usize {
        self.hasher.hash_one(channel) as usize % FORGOTTEN_LEN
    }

    fn with<R>(&mut self, log: &Log, act: impl FnOnce(&mut Kept, Instant) -> R) -> R {
        let now = Instant::now();
        self.sweep(now);
        self.uses += 1;
        let origin = self.origin(&log.channel);
        let kept = self.by_channel.entry(log.channel.clone()).or_insert_with(|| {
            let kept = Kept::new(log, origin, now);
            self.bytes += kept.bytes;
            kept
        });
        self.bytes -= kept.bytes;
        self.by_use.remove(&kept.use_number);
        self.by_use.insert(self.uses, log.channel.clone());
        (kept.history, kept.used, kept.use_number) = (log.history, now, self.uses);
        kept.prune(now);
        let result = act(kept, now);
        kept.shrink(self.bytes_max);
        self.bytes += kept.bytes;
        self.make_room();
        result
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept <= SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let over = self.by_channel.iter().filter(|(_, kept)| kept.is_over(now)).map(|(channel, _)| channel.clone());
        over.collect::<Vec<_>>().iter().for_each(|channel| self.forget(channel));
    }

    /// Forgets other logs than the last one used, for which there is room.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max && self.by_channel.len() > 1 {
            let Some((_, channel)) = self.by_use.pop_first() else { return };
            tracing::debug!(channel = %escaped(&channel), bytes_max = self.bytes_max, "a history is forgotten: there is no room for more");
            self.forget(&channel);
        }
    }

    fn forget(&mut self, channel: &str) {
        if let Some(kept) = self.by_channel.remove(channel) {
            self.bytes -= kept.bytes;
            self.by_use.remove(&kept.use_number);
            self.forgotten.resize(FORGOTTEN_LEN, 0);
            let place = self.place(channel);
            self.forgotten[place] = self.forgotten[place].wrapping_add(1);
        }
    }
}

impl Kept {
    fn new(log: &Log, origin: Position, now: Instant) -> Self {
        Kept {
            origin,
            last: (origin.offset, origin.nonce),
            history: log.history,
            entries: VecDeque::new(),
            keys: HashMap::new(),
            key_ages: VecDeque::new(),
            bytes: LOG_COST + log.channel.len(),
            used: now,
            use_number: 0,
        }
    }

    fn top(&self) -> Position {
        Position { epoch: self.origin.epoch, offset: self.last.0, nonce: self.last.1 }
    }

    fn is_over(&self, now: Instant) -> bool {
        now - self.used > self.history.ttl.max(KEY_KEPT)
    }

    fn prune(&mut self, now: Instant) {
        let (size, ttl) = (self.history.size, self.history.ttl);
        while self.entries.len() > size || self.entries.front().is_some_and(|(since, _)| now - *since >= ttl) {
            self.drop_entry();
        }
        let is_old = |(since, _): &(Instant, Arc<str>)| now - *since >= KEY_KEPT;
        while self.keys.len() > KEYS_MAX || self.key_ages.front().is_some_and(is_old) {
            self.drop_key();
        }
    }

    /// Drops what is oldest until no more than so many bytes are left.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && !(self.entries.is_empty() && self.keys.is_empty()) {
            if self.entries.is_empty() { self.drop_key() } else { self.drop_entry() }
        }
    }

    fn drop_entry(&mut self) {
        if let Some((_, entry)) = self.entries.pop_front() {
            self.bytes -= ENTRY_COST + entry.envelope.len();
        }
    }

    fn drop_key(&mut self) {
        if let Some((_, key)) = self.key_ages.pop_front() {
            self.bytes -= KEY_COST + key.len();
            self.keys.remove(&key);
        }
    }

    fn append(&mut self, append: &Append, before: Option<Position>, now: Instant) -> (Appended, Option<Entry>) {
        let of_key = append.key.as_ref().and_then(|key| self.keys.get(key)).copied();
        if let Some(position) = of_key.or(before) {
            return (Appended { position, duplicate: true, replicas: 0 }, None);
        }
        let previous = self.last.0;
        self.last = (previous + 1, append.nonce);
        let (position, time_ms) = (self.top(), now_ms());
        let Position { epoch, offset, nonce } = position;
        let entry = Entry { epoch, offset, previous, time_ms, nonce, envelope: append.envelope.clone() };
        self.bytes += ENTRY_COST + entry.envelope.len();
        self.entries.push_back((now, entry.clone()));
        if let Some(key) = &append.key {
            self.bytes += KEY_COST + key.len();
            self.keys.insert(key.clone(), position);
            self.key_ages.push_back((now, key.clone()));
        }
        self.prune(now);
        (Appended { position, duplicate: false, replicas: 0 }, Some(entry))
    }

    /// Finds entries by their nonces among the newest, for as long as a key is kept.
    fn find(&self, nonces: &HashSet<Nonce>, now: Instant) -> Vec<(Nonce, Position)> {
        let is_young = |(since, _): &&(Instant, Entry)| now.saturating_duration_since(*since) <= KEY_KEPT;
        let newest = self.entries.iter().rev().take_while(is_young).take(AGAIN_LEN_MAX);
        let found = newest.filter(|(_, entry)| nonces.contains(&entry.nonce));
        found.map(|(_, entry)| (entry.nonce, entry.position())).take(nonces.len()).collect()
    }

    fn read(&self, span: Span) -> Page {
        let entries = self.entries.iter().map(|(_, entry)| entry);
        match span {
            Span::Newest(max) => {
                let mut entries = page(entries.rev(), max);
                entries.reverse();
                Page { top: self.top(), recovered: true, entries }
            }
            Span::Oldest(max) => Page { top: self.top(), recovered: true, entries: page(entries, max) },
            Span::After(position, max) => {
                let recovered = self.is_known(position);
                let behind = entries.filter(|entry| recovered && entry.offset > position.offset);
                Page { top: self.top(), recovered, entries: page(behind, max) }
            }
        }
    }

    /// Whether all that came behind this position is here.
    fn is_known(&self, position: Position) -> bool {
        let first = self.entries.front().map(|(_, entry)| entry.previous);
        let is_before_first = position == self.origin && first == Some(0);
        position == self.top() || is_before_first || self.has(position)
    }

    /// Finds an entry by its position. Offsets rise by one, so its place is known.
    fn has(&self, position: Position) -> bool {
        let first = self.entries.front().map_or(0, |(_, entry)| entry.offset);
        let place = position.offset.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.entries.get(place)).is_some_and(|(_, entry)| entry.position() == position)
    }
}

/// The first entries, at most so many and so much; one, however long it is.
fn page<'a>(entries: impl Iterator<Item = &'a Entry>, max: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let fits = bytes < PAGE_BYTES_MAX;
        bytes += entry.envelope.len();
        fits
    };
    entries.take(max).take_while(fits).cloned().collect()
}

/// A new count; never 0, which is the epoch of a position that says nothing.
#[cfg(feature = "nats")]
pub(crate) fn epoch() -> u64 {
    let Nonce(bytes) = Nonce::random();
    bytes.first_chunk().map_or(1, |bytes| u64::from_be_bytes(*bytes).max(1))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    struct Fixture {
        logs: MemoryLog,
        log: Log,
    }

    impl Fixture {
        fn new(size: usize, ttl_secs: u64) -> Self {
            let history = History::new(size, Duration::from_secs(ttl_secs));
            Fixture { logs: MemoryLog::default(), log: Log { channel: "x".into(), history } }
        }

        fn append(&mut self, nonce: u8, key: Option<&str>, again: bool) -> Appended {
            let (log, envelope) = (self.log.clone(), Bytes::from(vec![nonce]));
            let append = Append { log, nonce: Nonce([nonce; 16]), key: key.map(Into::into), again, envelope };
            let before = self.logs.find_again(std::slice::from_ref(&append));
            self.logs.append(&append, &before).0
        }

        fn fill(&mut self, nonces: std::ops::Range<u8>) -> Vec<Position> {
            nonces.map(|nonce| self.append(nonce, None, false).position).collect()
        }

        fn after(&mut self, position: Position) -> (bool, Vec<u64>) {
            let page = self.logs.read(&self.log, Span::After(position, 1000));
            (page.recovered, page.entries.iter().map(|entry| entry.offset).collect())
        }

        fn top(&mut self) -> Position {
            self.logs.read(&self.log, Span::Newest(0)).top
        }

        fn newest(&mut self, max: usize) -> Vec<u64> {
            let page = self.logs.read(&self.log, Span::Newest(max));
            assert!(page.recovered);
            page.entries.iter().map(|entry| entry.offset).collect()
        }
    }

    #[test]
    fn offsets_are_dense_from_1_and_a_page_is_bounded() {
        let mut kept = Fixture::new(10, 60);
        let positions = kept.fill(1..6);
        assert!(positions.iter().map(|position| position.offset).eq(1..6));
        assert_eq!(kept.newest(2), [4, 5]);
        assert_eq!(kept.after(positions[2]), (true, vec![4, 5]));
        let page = kept.logs.read(&kept.log, Span::After(positions[0], 2));
        assert_eq!((page.entries.len(), page.top), (2, positions[4]));
        assert_eq!(page.entries.iter().map(|entry| entry.previous).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn the_size_is_kept_to_and_what_is_gone_is_not_recovered() {
        let mut kept = Fixture::new(3, 60);
        let positions = kept.fill(1..6);
        assert_eq!(kept.newest(100), [3, 4, 5]);
        assert_eq!(kept.after(positions[2]), (true, vec![4, 5]));
        assert_eq!(kept.after(positions[1]), (false, vec![]));
        assert_eq!(kept.after(positions[4]), (true, vec![]));
    }

    #[test]
    fn another_nonce_or_epoch_is_not_recovered() {
        let mut kept = Fixture::new(10, 60);
        let start = kept.top();
        let positions = kept.fill(1..4);
        for wrong in [
            Position { nonce: Nonce([9; 16]), ..positions[1] },
            Position { nonce: Nonce([9; 16]), ..positions[2] },
            Position { epoch: positions[1].epoch ^ 1, ..positions[1] },
            Position { offset: 9, ..positions[1] },
            Position::default(),
        ] {
            assert_eq!(kept.after(wrong), (false, vec![]), "{wrong}");
        }
        let zeros = Position { epoch: positions[0].epoch, ..Position::default() };
        assert_eq!(kept.after(zeros), (false, vec![]), "it was never given out");
        assert_eq!(kept.after(start), (true, vec![1, 2, 3]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_its_time_is_gone_and_the_newest_position_lives_on() {
        let mut kept = Fixture::new(10, 60);
        let first = kept.fill(1..2)[0];
        tokio::time::advance(Duration::from_secs(30)).await;
        let second = kept.fill(2..3)[0];
        assert_eq!(kept.after(first), (true, vec![2]));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!((kept.newest(10), kept.after(first)), (vec![2], (false, vec![])));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((kept.newest(10), kept.after(second)), (vec![], (true, vec![])));
        tokio::time::advance(Duration::from_secs(301)).await;
        assert_eq!(kept.after(second), (false, vec![]), "another epoch");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_counts_once_within_five_minutes() {
        let mut kept = Fixture::new(1, 1);
        let first = kept.append(1, Some("a"), false);
        kept.append(2, Some("b"), false);
        let second = kept.append(3, Some("a"), false);
        assert_eq!((second.position, second.duplicate), (first.position, true));
        tokio::time::advance(KEY_KEPT).await;
        let third = kept.append(4, Some("a"), false);
        assert_eq!((third.position.offset, third.duplicate), (3, false));
        assert_eq!(kept.logs.by_channel["x"].keys.len(), 1);
    }

    #[test]
    fn what_is_said_again_is_found_by_its_nonce() {
        let mut kept = Fixture::new(10, 60);
        let positions = kept.fill(1..4);
        let again = kept.append(2, None, true);
        assert_eq!((again.position, again.duplicate), (positions[1], true));
        let new = kept.append(7, None, true);
        assert_eq!((new.position.offset, new.duplicate), (4, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_again_is_looked_for_as_long_as_a_key_is_kept() {
        let mut kept = Fixture::new(10, 3600);
        let old = kept.append(1, None, false);
        tokio::time::advance(KEY_KEPT).await;
        assert_eq!(kept.append(1, None, true).position, old.position);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!kept.append(1, None, true).duplicate);
    }

    #[tokio::test(start_paused = true)]
    async fn logs_that_nobody_uses_are_forgotten() {
        let mut kept = Fixture::new(10, 60);
        kept.fill(1..3);
        tokio::time::advance(KEY_KEPT + SWEEP_EVERY).await;
        kept.log.channel = "y".into();
        kept.fill(1..2);
        assert_eq!(kept.logs.by_channel.len(), 1);
    }

    #[test]
    fn reading_what_nobody_uses_keeps_nothing() {
        let mut kept = Fixture::new(10, 60);
        for n in 0..100 {
            kept.log.channel = n.to_string().into();
            let top = kept.top();
            assert_eq!((kept.newest(10), kept.after(top)), (vec![], (true, vec![])));
        }
        assert_eq!((kept.logs.by_channel.len(), kept.logs.by_use.len(), kept.logs.bytes), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_before_the_first_entry_is_of_one_room_and_one_count() {
        let mut kept = Fixture::new(10, 60);
        let start = kept.top();
        kept.log.channel = "y".into();
        assert_eq!(kept.after(start), (false, vec![]), "of another room that is not used");
        kept.fill(1..2);
        assert_eq!(kept.after(start), (false, vec![]), "of another room");
        kept.log.channel = "x".into();
        kept.fill(1..3);
        assert_eq!(kept.after(start), (true, vec![1, 2]));
        tokio::time::advance(KEY_KEPT + SWEEP_EVERY).await;
        assert_eq!(kept.after(start), (false, vec![]), "what was there is forgotten");
        kept.fill(1..3);
        assert_eq!(kept.after(start), (false, vec![]), "another count");
        kept.logs = MemoryLog::default();
        assert_eq!(kept.after(start), (false, vec![]), "another broker");
    }

    #[test]
    fn a_page_ends_with_the_entry_that_fills_it() {
        let mut kept = Fixture::new(10, 60);
        let append = |kept: &mut Fixture, len: usize| {
            let (log, envelope) = (kept.log.clone(), Bytes::from(vec![0; len]));
            let append = Append { log, nonce: Nonce::random(), key: None, again: false, envelope };
            kept.logs.append(&append, &HashMap::new()).0.position
        };
        let start = kept.top();
        let positions = [1, PAGE_BYTES_MAX - 1, 1, PAGE_BYTES_MAX, 1].map(|len| append(&mut kept, len));
        assert_eq!(kept.after(start), (true, vec![1, 2]));
        assert_eq!(kept.after(positions[1]), (true, vec![3, 4]));
        assert_eq!(kept.after(positions[3]), (true, vec![5]));
        assert_eq!(kept.newest(10), [4, 5]);
    }

    /// What all logs together are said to cost.
    fn cost(logs: &MemoryLog) -> usize {
        let cost = |(channel, kept): (&Arc<str>, &Kept)| {
            let entries = kept.entries.iter().map(|(_, entry)| ENTRY_COST + entry.envelope.len()).sum::<usize>();
            let keys = kept.keys.keys().map(|key| KEY_COST + key.len()).sum::<usize>();
            LOG_COST + channel.len() + entries + keys
        };
        logs.by_channel.iter().map(cost).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn what_logs_cost_is_bounded_and_those_used_least_recently_begin_anew() {
        let mut kept = Fixture::new(10, 60);
        kept.logs = MemoryLog::new(5 * (LOG_COST + 1 + ENTRY_COST + 1));
        let firsts = ["a", "b", "c", "d", "e"].map(|channel| {
            kept.log.channel = channel.into();
            kept.fill(1..2)[0]
        });
        assert_eq!((kept.logs.by_channel.len(), kept.logs.bytes), (5, cost(&kept.logs)));
        kept.log.channel = "a".into();
        kept.newest(1);
        kept.log.channel = "f".into();
        kept.fill(1..2);
        assert_eq!((kept.logs.by_channel.len(), kept.logs.bytes), (5, cost(&kept.logs)));
        kept.log.channel = "a".into();
        assert!(kept.after(firsts[0]).0, "it was used");
        kept.log.channel = "b".into();
        assert!(!kept.after(firsts[1]).0);
        kept.log.channel = "a".into();
        kept.append(7, Some("key"), false);
        tokio::time::advance(Duration::from_secs(301)).await;
        kept.newest(1);
        assert_eq!(kept.logs.bytes, cost(&kept.logs));
        assert_eq!(kept.logs.by_use.len(), kept.logs.by_channel.len());
    }

    #[test]
    fn one_log_alone_is_bounded_too() {
        let mut kept = Fixture::new(1000, 60);
        kept.logs = MemoryLog::new(LOG_COST + 1 + 3 * (ENTRY_COST + 1));
        let positions = kept.fill(1..10);
        assert_eq!(kept.newest(1000), [7, 8, 9]);
        assert_eq!(kept.after(positions[6]), (true, vec![8, 9]));
        kept.append(10, Some(&"key".repeat(1000)), false);
        assert_eq!(kept.newest(1000), [0; 0]);
        assert!(kept.logs.bytes <= kept.logs.bytes_max);
    }
}
