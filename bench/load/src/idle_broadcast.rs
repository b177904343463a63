//! Many idle connections on one process, and one message that reaches each exactly once.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::broadcast::{Audience, Broadcast};
use crate::idle::settled_bytes;
use crate::opening;
use crate::report::{Latency, Memory, Report};
use crate::target::Target;
use crate::window::Window;

const WARM_UP_CONNECTIONS: usize = 32;

/// How long to wait for a delivery too many.
const DUPLICATES_WITHIN: Duration = Duration::from_millis(500);

/// Runs the workload; its unit is one delivery, and its latency the time to the last.
pub fn run(target: &Target, broadcast: &Broadcast) -> Result<Report> {
    // Closed again, so that the audience is all there is.
    drop(opening::open_many(target, &broadcast.path, WARM_UP_CONNECTIONS, broadcast.content.deflate)?);
    let before_bytes = settled_bytes(&[target.process])?;
    let mut audience = Audience::open(target, broadcast)?;
    let opened_bytes = settled_bytes(&[target.process])?;

    let mut window = Window::open_now(target.process)?;
    let published = Instant::now();
    audience.publish()?;
    audience.receive_all()?;
    let last_delivery = published.elapsed();
    audience.listen_for_duplicates(DUPLICATES_WITHIN)?;
    audience.check_each_received_all()?;
    let report = window.close(Instant::now(), audience.delivered())?;

    let used_bytes = settled_bytes(&[target.process])?;
    let memory = Memory { before_bytes, opened_bytes, used_bytes, connections: broadcast.receivers as u64 };
    let microseconds = last_delivery.as_secs_f64() * 1e6;
    let latency = Latency { p50_us: microseconds, p99_us: microseconds, p999_us: microseconds };
    Ok(Report { memory: Some(memory), latency: Some(latency), ..report })
}
