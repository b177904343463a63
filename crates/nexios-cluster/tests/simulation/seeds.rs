//! Runs of simulations, each by a number that makes it happen again.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs the seeds from 0 to 199, on all processors; so many by `NEXIOS_SEEDS`, one by `NEXIOS_SEED`.
/// The one that fails is printed.
pub(crate) fn seeds(run: impl Fn(u64) + Sync) {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let all = 0..number("NEXIOS_SEEDS").unwrap_or(200);
    let seeds = number("NEXIOS_SEED").map_or(all, |seed| seed..seed + 1);
    let next = AtomicU64::new(seeds.start);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("the seed was {seed}: NEXIOS_SEED={seed} runs it alone");
            next.store(seeds.end, Ordering::Relaxed);
            resume_unwind(panic);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(work)));
}
