//! One contract for all brokers: nodes with real clients, and a broker that is stopped, frozen
//! and started anew under them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod contract;
mod hub;
mod nats;
mod node;
mod redis;
mod servers;
mod settings;

/// The contract against one kind of broker.
macro_rules! contract {
    ($name:ident, $start:expr) => {
        contract! {
            $name, $start;
            a_broadcast_reaches_all_nodes_once_and_in_order
            whatever_a_broadcast_says_is_carried
            clients_that_are_not_here_are_looked_for_elsewhere
            what_is_sent_after_a_join_arrives
            a_node_gets_only_what_it_has_clients_for
            a_burst_is_delivered_or_declared
            a_broker_that_is_killed_comes_back_and_the_gap_is_declared
            local_delivery_waits_for_nobody
            a_publisher_reaches_everybody_without_serving
        }
    };
    ($name:ident, $start:expr; $($behaviour:ident)*) => {
        mod $name {
            $(#[test]
            fn $behaviour() {
                crate::contract::$behaviour(&mut $start);
            })*
        }
    };
}

contract! { with_memory, crate::servers::MemoryServer::default() }
contract! { with_hub, crate::servers::HubServer::start() }
contract! { with_redis, crate::servers::TcpServer::redis(&[]) }
contract! { with_nats, crate::servers::TcpServer::nats(&[]) }

/// What only a server that is a process of its own can do.
macro_rules! contract_of_process {
    ($name:ident, $start:expr) => {
        contract! {
            $name, $start;
            a_broker_that_stands_still_loses_nothing
            a_broker_that_stands_still_for_long_holds_up_nobody
        }
    };
}

contract_of_process! { frozen_hub, crate::servers::HubServer::start() }
contract_of_process! { frozen_redis, crate::servers::TcpServer::redis(&[]) }
contract_of_process! { frozen_nats, crate::servers::TcpServer::nats(&[]) }
