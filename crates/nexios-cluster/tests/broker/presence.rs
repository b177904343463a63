//! Presence with every broker, and with nodes that die.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nexios::App;
use nexios::broker::Broker;

use crate::node::{Node, wait};
use crate::servers::Server;

/// Says to the test of this name that it is a node, and of which broker.
const NODE_OF: &str = "NEXIOS_TEST_NODE_OF";
const SHORT_TTL: Duration = Duration::from_secs(2);

pub(crate) fn presence_is_that_of_all_nodes(server: &mut dyn Server) {
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(server.broker())).collect();
    let (ann, bob) = (nodes[0].present("x", "ann"), nodes[1].present("x", "bob"));
    let mut tab = nodes[1].present("x", "ann");
    let all = [("ann", 2), ("bob", 1)];
    nodes.iter().for_each(|node| node.wait_for_presence("x", &all));
    // A node that asks for the first time has the whole answer.
    let late = Node::start(server.broker());
    assert_eq!(late.presence("x"), [("ann".into(), 2), ("bob".into(), 1)]);
    assert_eq!(wait(late.room("x").presence_count()), 2);
    assert!(late.presence("elsewhere").is_empty());
    tab.leave();
    nodes[0].wait_for_presence("x", &[("ann", 1), ("bob", 1)]);
    drop(ann);
    for node in nodes.iter().chain([&late]) {
        node.wait_for_presence("x", &[("bob", 1)]);
    }
    late.wait_until("told", |node| {
        let mut told = node.came_and_went();
        told.sort();
        told == ["+ann false", "+bob false", "-ann false"]
    });
    nodes[0].wait_until("told", |node| node.came_and_went().len() == 3);
    let told = nodes[0].came_and_went();
    assert_eq!((told.first().unwrap().as_str(), told.last().unwrap().as_str()), ("+ann true", "-ann true"));
    assert!(nodes.iter().all(|node| node.gaps().is_empty() && node.metrics().received == 0));
    drop(bob);
}

pub(crate) fn a_user_who_comes_to_another_node_within_the_delay_has_not_left(server: &mut dyn Server) {
    let start = |delay| Node::serve(App::new().broker(server.broker()).leave_delay(delay));
    // Long enough for a loaded machine, and the other node's is short enough for a test.
    let (here, there) = (start(Duration::from_secs(30)), start(Duration::from_millis(500)));
    let bob = there.present("x", "bob");
    let mut ann = here.present("x", "ann");
    [&here, &there].iter().for_each(|node| node.wait_for_presence("x", &[("ann", 1), ("bob", 1)]));
    for other in [&there, &here] {
        drop(ann);
        ann = other.present("x", "ann");
        other.wait_until("there", |node| node.presence("x").iter().any(|(user, _)| user == "ann"));
    }
    // Where she was last is forgotten, and what was gone before it.
    here.wait_for_presence("x", &[("ann", 1), ("bob", 1)]);
    drop(bob);
    here.wait_for_presence("x", &[("ann", 1)]);
    for (node, told) in
        [(&here, ["+ann true", "+bob false", "-bob false"]), (&there, ["+ann false", "+bob true", "-bob true"])]
    {
        node.wait_until("told", |node| {
            let mut heard = node.came_and_went();
            heard.sort();
            heard == told
        });
    }
}

pub(crate) fn a_node_that_ends_takes_its_users_with_it(server: &mut dyn Server) {
    let (here, there) = (Node::start(server.broker()), Node::start(server.broker()));
    let _ann = here.present("x", "ann");
    let _bob = there.present("x", "bob");
    here.wait_for_presence("x", &[("ann", 1), ("bob", 1)]);
    let begun = Instant::now();
    drop(there);
    here.wait_for_presence("x", &[("ann", 1)]);
    assert!(begun.elapsed() < Duration::from_secs(5), "its TTL is 30 s");
    here.wait_until("told", |node| node.came_and_went() == ["+ann true", "+bob false", "-bob false"]);
}

pub(crate) fn presence_is_right_again_after_the_broker_was_killed(server: &mut dyn Server) {
    let start = |server: &dyn Server| Node::start(server.broker().presence_ttl(SHORT_TTL));
    let (here, there) = (start(server), start(server));
    let (_ann, bob) = (here.present("x", "ann"), there.present("x", "bob"));
    here.wait_for_presence("x", &[("ann", 1), ("bob", 1)]);
    server.kill();
    here.wait_until("disconnected", |node| !node.metrics().connected);
    drop(bob);
    let _eve = there.present("x", "eve");
    there.wait_for_presence("x", &[("ann", 1), ("eve", 1)]);
    // For longer than the TTL, too: a test in virtual time says so.
    assert_eq!(here.presence("x"), [("ann".into(), 1), ("bob".into(), 1)], "what was known last");
    server.restart();
    for node in [&here, &there] {
        node.wait_until("reconnected", |node| node.metrics().connected && node.metrics().reconnects > 0);
    }
    // Within two TTLs of virtual time; here it is enough that those of this broker count, and not those of 30 s.
    [&here, &there].iter().for_each(|node| node.wait_for_presence("x", &[("ann", 1), ("eve", 1)]));
}

pub(crate) fn a_node_that_is_killed_is_gone_within_its_ttl(server: &mut dyn Server) {
    let here = Node::start(server.broker().presence_ttl(SHORT_TTL));
    let _ann = here.present("x", "ann");
    let mut there = Command::new(std::env::current_exe().unwrap());
    there.args(["--exact", "presence::a_node_in_a_process_of_its_own"]).env(NODE_OF, server.url());
    // It ends with this process at the latest.
    let mut there = there.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    here.wait_for_presence("x", &[("ann", 1), ("dying", 1)]);
    there.kill().unwrap();
    let died = Instant::now();
    there.wait().unwrap();
    here.wait_for_presence("x", &[("ann", 1)]);
    println!("gone after {:?}", died.elapsed());
    here.wait_until("told", |node| node.came_and_went() == ["+ann true", "+dying false", "-dying false"]);
}

/// Not a test, but what the one above starts and kills.
#[test]
fn a_node_in_a_process_of_its_own() {
    let Ok(url) = std::env::var(NODE_OF) else { return };
    let node = Node::start(Broker::new(url).presence_ttl(SHORT_TTL));
    let _client = node.present("x", "dying");
    let ended = std::io::stdin().read_to_end(&mut Vec::new());
    assert!(ended.is_ok(), "{ended:?}");
}
