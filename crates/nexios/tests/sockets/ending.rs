//! The end of a process that serves by `App::run`: this test binary starts itself once more as that process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nexios::{App, Serve, WebSocket};
use rustix::process::{Pid, Signal, kill_process};

/// Set in the process that serves.
const SERVES: &str = "NEXIOS_TEST_SERVES";
const REQUEST: &[u8] = b"GET /blocked HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Blocks the thread of its shard for longer than any test runs.
async fn blocked(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    println!("blocked");
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

fn serve() {
    let serve = Serve::tcp("127.0.0.1:0").shards(1).on_listen(|addresses| println!("listening {}", addresses[0]));
    App::new().ws("/blocked", blocked).run(serve).unwrap();
    println!("returned");
}

fn start(test: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(SERVES, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines)
}

/// Sends SIGTERM again and again: of two that come at once a process sees one.
fn signalled_until_it_ends(child: &mut Child) -> ExitStatus {
    for signals in 0.. {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(signals > 1, "one signal leaves handlers their grace period");
            return status;
        }
        if signals > 200 {
            child.kill().unwrap();
            panic!("it lives on after {signals} signals");
        }
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    unreachable!("the loop ends by itself")
}

#[test]
fn a_handler_that_blocks_its_thread_does_not_outlive_the_second_signal() {
    if std::env::var_os(SERVES).is_some() {
        return serve();
    }
    let (mut child, mut lines) = start("ending::a_handler_that_blocks_its_thread_does_not_outlive_the_second_signal");
    let address = lines.find_map(|line| line.split_once("listening ").map(|(_, address)| address.to_owned())).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(REQUEST).unwrap();
    assert!(lines.any(|line| line == "blocked"));
    let status = signalled_until_it_ends(&mut child);
    assert!(lines.any(|line| line == "returned"), "run() returns");
    assert!(status.success());
}
