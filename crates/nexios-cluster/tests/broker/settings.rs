//! What a start says of a broker that cannot be.

use std::time::Duration;

use nexios::broker::{Broker, Memory};
use nexios::{App, StartError, WsRouter};

fn error(app: App) -> String {
    let error: StartError = app.start("127.0.0.1:0").expect_err("an error");
    error.to_string()
}

#[test]
fn two_routers_of_one_name_are_an_error() {
    let app = || App::new().mount(WsRouter::with_prefix("/a")).mount(WsRouter::with_prefix("/a/"));
    drop(app().start("127.0.0.1:0").unwrap());
    let text = error(app().broker(&Memory::new()));
    assert_eq!(text, "to a broker two routers are called \"/a\": give one a name of its own");
}

#[test]
fn a_broker_that_cannot_be_reached_is_named_after_a_bounded_wait() {
    let memory = Memory::new();
    memory.stop();
    let text = error(App::new().broker(Broker::from(&memory).connect_timeout(Duration::from_millis(300))));
    assert_eq!(text, "cannot reach the broker in memory: the broker in memory is stopped");
}
