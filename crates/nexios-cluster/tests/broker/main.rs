//! One contract for all brokers: nodes with real clients, and a broker that is stopped, frozen
//! and started anew under them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod addresses;
mod answers;
mod contract;
mod fake_redis;
mod history;
mod hub;
mod logged;
mod nats;
mod node;
mod presence;
mod redis;
mod servers;
mod settings;
mod storms;
mod tls;

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
        contract! { @of contract, $name, $start; $($behaviour)* }
    };
    (@of $contract:ident, $name:ident, $start:expr; $($behaviour:ident)*) => {
        mod $name {
            $(#[test]
            fn $behaviour() {
                crate::$contract::$behaviour(&mut $start);
            })*
        }
    };
}

contract! { with_memory, crate::servers::MemoryServer::default() }
contract! { with_hub, crate::servers::HubServer::start() }
contract! { with_redis, crate::servers::TcpServer::redis(&[]) }
contract! { with_nats, crate::servers::TcpServer::nats(&[]) }

/// Rooms with history.
macro_rules! history_contract {
    ($name:ident, $start:expr) => {
        contract! {
            @of history, $name, $start;
            all_see_one_order_whoever_publishes
            a_client_that_comes_back_gets_what_it_missed_once
            a_leave_counts_instead_of_a_join_that_waits
            what_cannot_be_recovered_is_said
            a_place_before_the_first_message_is_worth_what_was_given_out
            what_is_past_its_time_is_not_recovered
            a_new_epoch_is_a_gap_and_no_false_recovery
            a_broker_that_is_killed_loses_and_doubles_nothing_that_it_stored
            a_key_is_stored_once
            a_slow_client_gets_all_that_it_missed
            whatever_a_broadcast_says_is_remembered
            a_burst_is_read_again_and_not_lost
            those_who_come_back_at_once_are_served_by_the_node
            a_history_is_read_page_by_page
            a_publisher_stores_without_serving
            what_a_client_is_sent_comes_behind_its_own_broadcast
            a_publisher_does_not_wait_for_members_that_are_not_sent_anything
        }
    };
}
history_contract! { history_with_memory, crate::servers::MemoryServer::default() }
history_contract! { history_with_hub, crate::servers::HubServer::start() }
history_contract! { history_with_redis, crate::servers::TcpServer::lasting_redis() }
history_contract! { history_with_redis_in_memory, crate::servers::TcpServer::redis(&[]) }
history_contract! { history_with_nats, crate::servers::TcpServer::jetstream() }

contract! {
    @of history, history_with_a_cluster, crate::redis::cluster();
    all_see_one_order_whoever_publishes
    a_client_that_comes_back_gets_what_it_missed_once
    a_place_before_the_first_message_is_worth_what_was_given_out
    a_broker_that_is_killed_loses_and_doubles_nothing_that_it_stored
    a_key_is_stored_once
    a_history_is_read_page_by_page
    what_a_client_is_sent_comes_behind_its_own_broadcast
}

contract! {
    @of history, history_of_a_publisher, crate::servers::TcpServer::lasting_redis();
    a_publisher_waits_until_the_broker_is_back
}

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

/// Presence: the first three with a broker in memory, too.
macro_rules! presence {
    ($name:ident, $start:expr; $($behaviour:ident)*) => {
        mod $name {
            $(#[test]
            fn $behaviour() {
                crate::presence::$behaviour(&mut $start);
            })*
        }
    };
}

presence! {
    presence_with_memory, crate::servers::MemoryServer::default();
    presence_is_that_of_all_nodes
    a_user_who_comes_to_another_node_within_the_delay_has_not_left
    a_node_that_ends_takes_its_users_with_it
    presence_is_right_again_after_the_broker_was_killed
}

macro_rules! presence_of_process {
    ($name:ident, $start:expr) => {
        presence! {
            $name, $start;
            presence_is_that_of_all_nodes
            a_user_who_comes_to_another_node_within_the_delay_has_not_left
            a_node_that_ends_takes_its_users_with_it
            presence_is_right_again_after_the_broker_was_killed
            a_node_that_is_killed_is_gone_within_its_ttl
        }
    };
}

presence_of_process! { presence_with_hub, crate::servers::HubServer::start() }
presence_of_process! { presence_with_redis, crate::servers::TcpServer::redis(&[]) }
presence_of_process! { presence_with_nats, crate::servers::TcpServer::nats(&[]) }

contract_of_process! { frozen_hub, crate::servers::HubServer::start() }
contract_of_process! { frozen_redis, crate::servers::TcpServer::redis(&[]) }
contract_of_process! { frozen_nats, crate::servers::TcpServer::nats(&[]) }
