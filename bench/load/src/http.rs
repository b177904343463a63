//! Plain HTTP requests on connections that stay open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::io::{Errno, ioctl_fionbio, read};

use crate::opening;
use crate::poller::{Poller, read_buffer};
use crate::report::{Latency, Report};
use crate::target::Target;
use crate::window::{Phase, Window};

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Http {
    /// What is asked for, by GET; the answer must be a 200 that is always as long as the first.
    pub path: String,
    /// How many connections ask at the same time, each one request after another.
    pub connections: usize,
}

/// Runs the workload; its unit is one request and its answer.
pub fn run(target: &Target, http: &Http) -> Result<Report> {
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", http.path, target.address).into_bytes();
    let answer_bytes = measure_answer(target, &request)?;
    let mut askers = Askers::open(target, http.connections, request, answer_bytes)?;
    let mut window = Window::new(target);
    loop {
        let now = askers.turn()?;
        match window.advance(now, askers.answered)? {
            Phase::WarmUp | Phase::Measuring => {}
            Phase::Opened => askers.latencies.reset(),
            Phase::Done(report) => {
                return Ok(Report { latency: Latency::from_nanoseconds(&askers.latencies), ..*report });
            }
        }
    }
}

/// Reads one answer to its end and returns its length.
fn measure_answer(target: &Target, request: &[u8]) -> Result<usize> {
    let socket = opening::connect_from(opening::source(0), target.address)?;
    opening::write_all(&socket, request)?;
    let mut received = Vec::new();
    loop {
        opening::read_more(&socket, &mut received)?;
        if let Some(length) = answer_length(&received)? {
            ensure!(received.len() == length, "more came than one answer");
            return Ok(length);
        }
    }
}

/// The length of the answer at the front, once all of it is there.
fn answer_length(received: &[u8]) -> Result<Option<usize>> {
    let Some(head) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200 "), "the server answered: {text}");
    let body = match text.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => length.trim().parse::<usize>().context("content-length")?,
        None if received.ends_with(b"0\r\n\r\n") => received.len() - head,
        None => return Ok(None),
    };
    Ok((received.len() >= head + body).then_some(head + body))
}

struct Askers {
    askers: Vec<Asker>,
    request: Vec<u8>,
    answer_bytes: usize,
    poller: Poller,
    buffer: Vec<u8>,
    latencies: Histogram<u64>,
    answered: u64,
}

struct Asker {
    socket: OwnedFd,
    asked_at: Instant,
    received_bytes: usize,
}

impl Askers {
    fn open(target: &Target, count: usize, request: Vec<u8>, answer_bytes: usize) -> Result<Self> {
        let mut askers = Vec::with_capacity(count);
        for index in 0..count {
            let socket = opening::connect_from(opening::source(index), target.address)?;
            ioctl_fionbio(&socket, true)?;
            opening::write_all(&socket, &request)?;
            askers.push(Asker { socket, asked_at: Instant::now(), received_bytes: 0 });
        }
        let poller = Poller::over(&askers)?;
        let latencies = Histogram::new(3)?;
        Ok(Self { askers, request, answer_bytes, poller, buffer: read_buffer(), latencies, answered: 0 })
    }

    fn turn(&mut self) -> Result<Instant> {
        for nth in 0..self.poller.wait_for_any(SILENCE_MAX)? {
            let index = self.poller.ready(nth);
            self.receive(index)?;
        }
        Ok(Instant::now())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        let asker = &mut self.askers[index];
        let length = match read(&asker.socket, &mut self.buffer) {
            Ok(0) => bail!("the server closed a connection between requests"),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let starts = asker.received_bytes == 0 && length >= 12;
        ensure!(!starts || &self.buffer[9..12] == b"200", "the server refused a request");
        asker.received_bytes += length;
        ensure!(asker.received_bytes <= self.answer_bytes, "an answer is longer than the first one");
        if asker.received_bytes == self.answer_bytes {
            let now = Instant::now();
            self.latencies.record((now - asker.asked_at).as_nanos() as u64)?;
            self.answered += 1;
            (asker.asked_at, asker.received_bytes) = (now, 0);
            opening::write_all(&asker.socket, &self.request)?;
        }
        Ok(())
    }
}

impl AsFd for Asker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_or_its_last_chunk_says() {
        let fixed = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(answer_length(fixed).unwrap(), Some(fixed.len()));
        assert_eq!(answer_length(&fixed[..fixed.len() - 1]).unwrap(), None);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(answer_length(chunked).unwrap(), Some(chunked.len()));
        assert_eq!(answer_length(&chunked[..chunked.len() - 5]).unwrap(), None);
        assert!(answer_length(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    }
}
