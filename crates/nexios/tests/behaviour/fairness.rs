//! One connection's input gets an allowance per turn; what is left waits behind the others.

use nexios::{App, Route, WebSocket};
use nexios_protocol::{Agreed, OpCode};

use crate::bench::{Bench, Log, Seen};

const MANY: usize = 10_000;

fn app(log: &Log) -> App {
    let log = log.clone();
    App::new().route(Route::new("/{name}", move |ws: WebSocket| {
        let log = log.clone();
        async move {
            ws.accept().await?;
            let name: String = ws.path_param("name")?;
            while let Ok(message) = ws.receive().await {
                log.add(format!("{name} {}", message.len()));
            }
            Ok(())
        }
    }))
}

/// Turns until the quiet client was served; what the busy one got until then.
fn served_before(bench: &Bench, log: &Log) -> usize {
    let mut before = 0;
    for _ in 0..3 {
        let more = bench.turn();
        let lines = log.take();
        before += lines.iter().filter(|line| line.starts_with("busy")).count();
        if lines.iter().any(|line| line.starts_with("quiet")) {
            assert!(more, "what is left of the busy client's input needs a turn at once");
            return before;
        }
    }
    panic!("the quiet client waits for more than three turns; {before} messages of the busy one were taken");
}

#[test]
fn many_small_messages_of_one_client_do_not_keep_others_waiting_and_all_arrive() {
    let log = Log::default();
    let bench = Bench::new(app(&log));
    let (busy, quiet) = (bench.connect("/busy"), bench.connect("/quiet"));
    busy.write_ahead(|protocol, out| (0..MANY).for_each(|_| protocol.send_message(out, OpCode::Binary, b"8 bytes.")));
    quiet.write_ahead(|protocol, out| protocol.send_message(out, OpCode::Text, b"hello"));
    let before = served_before(&bench, &log);
    assert!(before <= 3 * 512, "{before} messages were taken before the other client's");
    bench.run();
    let after = log.take().iter().filter(|line| *line == "busy 8").count();
    assert_eq!(before + after, MANY);
}

#[test]
fn few_bytes_that_inflate_to_many_messages_of_a_megabyte_wait_for_their_turns() {
    let log = Log::default();
    let bench = Bench::new(app(&log));
    let handshake = crate::bench::handshake("/busy").deflate(nexios_protocol::DeflateConfig::default());
    let busy = bench.try_connect(handshake).unwrap();
    let agreed: Agreed = busy.response.deflate.unwrap();
    let quiet = bench.connect("/quiet");
    let mut packed = Vec::new();
    let megabyte = vec![b'x'; (1 << 20) - 1];
    nexios_protocol::Codec::new().compress(agreed.client_max_window_bits, 6, &megabyte, &mut packed);
    assert!(packed.len() < 4000);
    busy.write_ahead(|_, out| {
        for _ in 0..60 {
            nexios_protocol::write_frame(out, OpCode::Binary, true, true, &packed, Some([0; 4]));
        }
    });
    quiet.write_ahead(|protocol, out| protocol.send_message(out, OpCode::Text, b"hello"));
    let before = served_before(&bench, &log);
    assert!(before <= 3, "{before} megabytes were inflated before the other client's message");
    bench.run();
    assert_eq!(before + log.take().iter().filter(|line| line.starts_with("busy")).count(), 60);
}

#[test]
fn a_close_behind_many_messages_ends_the_connection_behind_them() {
    let log = Log::default();
    let bench = Bench::new(app(&log));
    let busy = bench.connect("/busy");
    busy.write(|protocol, out| {
        (0..MANY).for_each(|_| protocol.send_message(out, OpCode::Binary, b"x"));
        protocol.send_close(out, None);
    });
    assert_eq!(log.take().len(), MANY);
    assert_eq!(busy.seen(), [Seen::Close(1005, String::new()), Seen::End]);
}

#[test]
fn many_clients_that_send_more_than_their_handlers_can_take_hold_a_turn_up_as_one_does() {
    let log = Log::default();
    let taken = log.clone();
    let bench = Bench::new(App::new().route(Route::new("/", move |ws: WebSocket| {
        let taken = taken.clone();
        async move {
            ws.accept().await?;
            while let Ok(message) = ws.receive().await {
                std::thread::sleep(std::time::Duration::from_millis(2));
                taken.add(format!("{}", message.len()));
            }
            Ok(())
        }
    })));
    let busy: Vec<_> = (0..20).map(|_| bench.connect("/")).collect();
    for client in &busy {
        client.write_ahead(|protocol, out| (0..30).for_each(|_| protocol.send_message(out, OpCode::Binary, b"work")));
    }
    // All are new to the first turn; what is left of them waits from then on.
    bench.turn();
    let first = log.take().len();
    let mut most = 0;
    let mut all = first;
    while bench.turn() {
        let taken = log.take().len();
        most = most.max(taken);
        all += taken;
    }
    assert!(most <= 40, "{most} messages of 2 ms each in one turn");
    assert_eq!(all + log.take().len(), 20 * 30);
}
