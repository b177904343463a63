//! What becomes of messages that a broker refuses, cannot take now, or never confirms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nexios::broker::{BrokerError, History, Publisher};

use crate::fake_redis::{Act, FakeRedis, is};
use crate::node::{Node, send};

/// All that a node says to publish and to store.
const WRITES: &[&str] = &["SPUBLISH", "EVALSHA"];
const HOUR: Duration = Duration::from_secs(3600);
const QUIET: Duration = Duration::from_millis(700);

/// Answers some commands with this line; messages of that time come once, in order, and are stored once.
fn passes(line: &'static str, commands: &'static [&'static str]) {
    let redis = FakeRedis::start();
    let (here, there) = (Node::start(redis.broker()), Node::start(redis.real()));
    let history = History::new(100, HOUR);
    let (room, _there) = (here.room("x").with_history(history), there.room("x").with_history(history));
    let (ann, bob) = (there.resume("x", "ann", None), there.client("plain", "bob"));
    ann.joined();
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    redis.answer(commands, line);
    assert!(send(here.room("plain").broadcast("plain 0")).accepted);
    let from_outside = publisher.room("plain").broadcast("outside 0");
    let outcome = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(room.broadcast("stored")));
        redis.wait_until_answered(4);
        assert!(!sending.is_finished(), "{line}: it has an answer");
        redis.rule(|_| Act::Pass);
        sending.join().unwrap()
    });
    // On a busy machine five seconds may have passed: what was accepted is stored later.
    assert!((outcome.stored.is_some() || outcome.accepted) && !outcome.duplicate, "{line}: {outcome:?}");
    from_outside.wait().unwrap();
    ann.expect(["stored"]);
    let plain = bob.numbered(QUIET);
    assert_eq!((&plain["plain"][..], &plain["outside"][..]), (&[0][..], &[0][..]), "{line}");
    assert!(there.gaps().is_empty(), "{line}: {:?}", there.gaps());
    assert_eq!(here.metrics().reconnects, 0, "{line}");
    ann.expect_nothing();
}

#[test]
fn a_redis_that_cannot_do_it_now_is_asked_again() {
    std::thread::scope(|scope| {
        for line in [
            "-LOADING Redis is loading the dataset in memory",
            "-TRYAGAIN Multiple keys request during rehashing of slot",
            "-CLUSTERDOWN Hash slot not served",
            "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        ] {
            scope.spawn(move || passes(line, WRITES));
        }
    });
}

#[test]
fn a_redis_that_lacks_something_is_asked_again() {
    std::thread::scope(|scope| {
        for line in [
            "-OOM command not allowed when used memory > 'maxmemory'.",
            "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "-NOREPLICAS Not enough good replicas to write.",
        ] {
            scope.spawn(move || passes(line, &["EVALSHA"]));
        }
    });
}

#[test]
fn a_redis_that_loads_its_data_at_the_start_is_waited_for() {
    let redis = FakeRedis::start();
    redis.rule(|_| Act::Answer("-LOADING Redis is loading the dataset in memory"));
    std::thread::scope(|scope| {
        let broker = redis.broker().connect_timeout(Duration::from_secs(30));
        let started = scope.spawn(|| Node::start(broker));
        redis.wait_until_answered(3);
        redis.rule(|_| Act::Pass);
        assert!(started.join().unwrap().metrics().connected);
    });
}

/// A condition that lasts is an error that says so, within a bound, and no reason to connect for ever.
fn lasts(line: &'static str, says: &str) {
    let redis = FakeRedis::start();
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    let room = publisher.room("x").with_history(History::new(100, HOUR));
    let connections = redis.connections();
    redis.answer(&["EVALSHA"], line);
    let begun = Instant::now();
    match room.broadcast("one").wait_for(Duration::from_secs(60)) {
        Err(BrokerError::Refused(reason)) => assert!(reason.contains(says), "{reason:?} says {says:?}"),
        other => panic!("{line}: {other:?}"),
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "{line}: {:?}", begun.elapsed());
    let made = redis.connections() - connections;
    assert!(made <= 20, "{line}: {made} connections");
    // From then on the answer comes at once, and what needs no writing goes its way.
    assert!(matches!(room.broadcast("two").wait_for(Duration::from_secs(60)), Err(BrokerError::Refused(_))));
    publisher.room("y").broadcast("plain").wait_for(Duration::from_secs(60)).unwrap();
    assert!(redis.connections() - connections <= made + 1, "{line}");
    redis.rule(|_| Act::Pass);
    let published = room.broadcast("three").wait_for(Duration::from_secs(60)).unwrap();
    assert_eq!(published.stored.unwrap().offset, 1, "{line}: what was refused is not stored");
}

#[test]
fn a_redis_that_only_reads_is_an_error_in_the_end() {
    std::thread::scope(|scope| {
        for (line, says) in [
            ("-READONLY You can't write against a read only replica.", "this server is a replica"),
            ("-MOVED 3999 127.0.0.1:6381", "redis+cluster://"),
            ("-OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
        ] {
            scope.spawn(move || lasts(line, says));
        }
    });
}

#[test]
fn one_refused_message_takes_no_other_along() {
    let redis = FakeRedis::start();
    let there = Node::start(redis.real());
    let ann = there.client("good", "ann");
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    redis.rule(|command| {
        let is_of = |name: &[u8]| command.get(1).is_some_and(|channel| channel.ends_with(name));
        match is(command, "SPUBLISH") && is_of(b"bad") {
            true => Act::Answer("-NOPERM User default has no permissions to access one of the channels"),
            false => Act::Pass,
        }
    });
    let rooms = [publisher.room("good"), publisher.room("bad")];
    let sent: Vec<_> = (0..200).map(|n| (n % 2, rooms[n % 2].broadcast(format!("outside {}", n / 2)))).collect();
    for (is_bad, sent) in sent {
        match (is_bad, sent.wait_for(Duration::from_secs(60))) {
            (0, Ok(_)) => {}
            (1, Err(BrokerError::Refused(reason))) => assert!(reason.contains("no permissions"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(ann.numbered(QUIET)["outside"].iter().copied().eq(0..100));
    assert!(there.gaps().is_empty(), "{:?}", there.gaps());
}

#[test]
fn what_is_published_again_after_its_answer_was_lost_comes_once() {
    let redis = FakeRedis::start();
    let there = Node::start(redis.real());
    let history = History::new(1000, HOUR);
    let _room = there.room("x").with_history(history);
    let (ann, bob) = (there.resume("x", "ann", None), there.client("plain", "bob"));
    ann.joined();
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    let (plain, stored) = (publisher.room("plain"), publisher.room("x").with_history(history));
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    redis.rule(move |command| {
        let is_probe = command.get(1).is_some_and(|to| to == b"nexios-probe");
        match WRITES.iter().any(|name| is(command, name)) && !is_probe && fastrand::u8(..4) == 0 {
            true => {
                count.fetch_add(1, Ordering::Relaxed);
                Act::LoseAnswer
            }
            false => Act::Pass,
        }
    });
    let mut n = 0;
    while lost.load(Ordering::Relaxed) < 6 {
        let round: Vec<_> = (n..n + 4)
            .map(|n| (plain.broadcast(format!("outside {n}")), stored.broadcast(format!("stored {n}"))))
            .collect();
        for (plain, stored) in round {
            plain.wait_for(Duration::from_secs(60)).unwrap();
            assert!(!stored.wait_for(Duration::from_secs(60)).unwrap().duplicate);
        }
        n += 4;
    }
    assert!(bob.numbered(QUIET)["outside"].iter().copied().eq(0..n));
    assert!(ann.numbered(QUIET)["stored"].iter().copied().eq(0..n));
    assert!(there.gaps().is_empty(), "{:?}", there.gaps());
}

#[test]
fn what_is_not_confirmed_at_the_end_may_have_been_sent_and_the_rest_was_not() {
    let redis = FakeRedis::start();
    let publisher = Publisher::connect_blocking(redis.broker()).unwrap();
    let (asked, answers) = (Arc::new(AtomicUsize::new(0)), Act::Ignore);
    let count = asked.clone();
    redis.rule(move |command| match WRITES.iter().any(|name| is(command, name)) {
        true => {
            count.fetch_add(1, Ordering::Relaxed);
            answers
        }
        false => Act::Pass,
    });
    let (plain, stored) = (publisher.room("y"), publisher.room("x").with_history(History::new(100, HOUR)));
    let under_way = [plain.broadcast("one"), stored.broadcast("one")];
    let end = Instant::now() + Duration::from_secs(20);
    while asked.load(Ordering::Relaxed) < 2 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let behind = [plain.broadcast("two"), stored.broadcast("two")];
    let timed_out = plain.broadcast("three").wait_for(Duration::from_millis(10));
    assert!(matches!(&timed_out, Err(BrokerError::Unconfirmed(_))), "{timed_out:?}");
    drop(publisher);
    for sent in under_way {
        let unknown = sent.wait_for(Duration::from_secs(20)).unwrap_err();
        assert!(matches!(unknown, BrokerError::Unconfirmed(_)), "{unknown:?}");
        assert!(unknown.to_string().starts_with("the message may have been sent"), "{unknown}");
    }
    for sent in behind.into_iter().chain([plain.broadcast("late"), stored.broadcast("late")]) {
        let refused = sent.wait_for(Duration::from_secs(20)).unwrap_err();
        assert!(matches!(refused, BrokerError::Refused(_)), "{refused:?}");
    }
}
