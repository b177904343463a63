//! What idle clients of a room over two nodes cost both in memory.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cluster::Nodes;
use crate::cluster::protocol::Protocol;
use crate::cluster::room::Room;
use crate::idle::settled_bytes;
use crate::report::{Memory, Report};
use crate::window::Window;

/// Clients on each node that make it touch its code and its pools first.
const WARM_UP_ON_EACH: usize = 32;

const SIZE: usize = 256;

/// Between joining and the first message: no answer says who is in the room.
const JOINED_WITHIN: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What to open.
#[derive(Clone, Debug)]
pub struct Idle {
    /// What the server speaks.
    pub protocol: Protocol,
    /// Clients on each of the nodes.
    pub on_each: usize,
}

/// Runs the workload; its unit is one open connection, and its window is the time in which none
/// of them does anything. Then each has one message.
pub fn run(nodes: &Nodes, idle: &Idle) -> Result<Report> {
    let mut warm_up = Room::open(nodes, idle.protocol, WARM_UP_ON_EACH, SIZE, 0)?;
    say_one(&mut warm_up)?;
    let before_bytes = settled_bytes(&nodes.processes())?;

    let mut room = Room::open(nodes, idle.protocol, idle.on_each, SIZE, warm_up.len() + 1)?;
    let opened_bytes = settled_bytes(&nodes.processes())?;
    let mut window = Window::open_now_over(nodes)?;
    sleep(nodes.nodes[0].window);
    let report = window.close(Instant::now(), room.len() as u64)?;

    say_one(&mut room)?;
    let used_bytes = settled_bytes(&nodes.processes())?;
    let memory = Memory { before_bytes, opened_bytes, used_bytes, connections: room.len() as u64 };
    Ok(Report { memory: Some(memory), ..report })
}

/// One message that reaches all.
fn say_one(room: &mut Room) -> Result<()> {
    sleep(JOINED_WITHIN);
    room.publisher.send_now()?;
    let (all, until) = (room.len() as u64, Instant::now() + SILENCE_MAX);
    while room.delivered() < all {
        room.receive(Duration::from_millis(100), |_, _| Ok(()))?;
        ensure!(Instant::now() < until, "one message reached {} of {all} clients", room.delivered());
    }
    Ok(())
}
