//! The cost of an append: `cargo test --release -p nexios-cluster --features nats,redis --lib contract::speed -- --ignored
//! --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use super::peer::{Peer, append, log};
use super::servers::Server;

const BATCH: usize = 128;
const FOR: Duration = Duration::from_secs(3);

/// Seconds of CPU that a process has used, of a thread group or of this one.
fn cpu(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Appends of 200 bytes from one session to eight rooms, with one subscriber; and one at a time.
async fn measure(name: &str, server: &impl Server) {
    let logs: Vec<_> = (0..8).map(|n| log(&format!("speed{n}"), 1000, 3600)).collect();
    let (peer, other) = (Peer::connect(server).await, Peer::connect(server).await);
    other.subscribe(&logs[0]).await;
    let pid = server.pid().map(|pid| pid.as_raw_nonzero().to_string());
    for batch in [1, BATCH] {
        let used = || (cpu("self"), pid.as_deref().map_or(0.0, cpu));
        let (start, before, mut count) = (Instant::now(), used(), 0);
        while start.elapsed() < FOR {
            let batch: Vec<_> = (0..batch).map(|n| append(&logs[(count + n) % 8], "x".repeat(200))).collect();
            peer.append_all(&batch).await;
            count += batch.len();
        }
        let (seconds, after) = (start.elapsed().as_secs_f64(), used());
        let each = |after: f64, before: f64| (after - before) * 1e6 / count as f64;
        println!(
            "{name}, batches of {batch}: {:.0} appends/s; µs of CPU per append: {:.1} here, {:.1} at the server",
            count as f64 / seconds,
            each(after.0, before.0),
            each(after.1, before.1),
        );
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn of_the_hub() {
    measure("hub (in this process)", &super::hub::OwnHub::start()).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
#[ignore = "a measurement"]
async fn of_redis() {
    measure("redis", &super::servers::TcpServer::redis(&[])).await;
    measure("redis, appendonly always", &super::servers::TcpServer::lasting_redis()).await;
}

#[cfg(feature = "nats")]
#[tokio::test]
#[ignore = "a measurement"]
async fn of_nats() {
    measure("nats, file storage", &super::servers::TcpServer::jetstream()).await;
}

/// A retry in a room with history a million messages, and how long Redis keeps others waiting meanwhile.
#[cfg(feature = "redis")]
#[tokio::test]
#[ignore = "a measurement"]
async fn of_a_retry_among_a_million() {
    use crate::history::log::Append;
    let server = super::servers::TcpServer::redis(&[]);
    let (log, peer, other) =
        (log("million", 1_000_000, 3600), Peer::connect(&server).await, Peer::connect(&server).await);
    for _ in 0..1_000_000 / 500 {
        let batch: Vec<_> = (0..500).map(|_| append(&log, "x".repeat(200))).collect();
        peer.append_all(&batch).await;
    }
    let again: Vec<_> = (0..128).map(|n| Append { again: true, ..append(&log, n) }).collect();
    let (done, start) = (std::cell::Cell::new(false), Instant::now());
    let retry = async {
        let appended = peer.append_all(&again).await;
        done.set(true);
        (appended.iter().filter(|appended| appended.duplicate).count(), start.elapsed())
    };
    let watch = async {
        let mut longest = Duration::ZERO;
        while !done.get() {
            let asked = Instant::now();
            other.session.publish(&[]).await.unwrap();
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        longest
    };
    let ((duplicates, took), longest) = tokio::join!(retry, watch);
    println!("a retry of 128 new messages took {took:?}, {duplicates} duplicates; a ping waited at most {longest:?}");
}
