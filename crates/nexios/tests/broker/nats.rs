//! What only NATS does: users, and a limit on messages.

use nexios::App;
use nexios::broker::Broker;

use crate::node::{Node, send};
use crate::servers::{Server, TcpServer};

#[test]
fn a_user_is_needed_and_the_password_not_shown() {
    let server = TcpServer::nats(&["--user", "ann", "--pass", "secret"]);
    let url = |password: &str| format!("nats://ann:{password}@127.0.0.1:{}", server.port);
    let error = App::new().broker(url("guess")).start("127.0.0.1:0").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot reach the broker nats://127.0.0.1:{}: ", server.port)), "{error}");
    assert!(!error.contains("guess"), "{error}");
    let (here, there) = (Node::start(Broker::new(url("secret"))), Node::start(Broker::new(url("secret"))));
    let client = there.client("x", "ann");
    send(here.room("x").broadcast("hello"));
    client.expect(["hello"]);
}

#[test]
fn a_message_that_is_too_long_for_the_server_is_not_accepted_and_declared() {
    let server = TcpServer::nats(&[]);
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let client = there.client("x", "ann");
    assert!(send(here.room("x").broadcast("first")).accepted);
    assert!(!send(here.room("x").broadcast("x".repeat(1 << 20))).accepted);
    assert!(send(here.room("x").broadcast("last")).accepted);
    client.expect(["first", "last"]);
    assert_eq!((there.missed(), here.metrics().refused), (1, 1));
}
