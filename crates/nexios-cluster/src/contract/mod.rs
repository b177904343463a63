//! One contract of logs for all engines that keep them, against real servers.

mod behaviours;
mod hub;
#[cfg(feature = "nats")]
mod nats;
mod peer;
#[cfg(feature = "redis")]
mod redis;
#[allow(dead_code, reason = "integration tests use the rest")]
#[path = "../../tests/broker/servers.rs"]
mod servers;
mod speed;

/// The contract against one engine.
macro_rules! contract {
    ($name:ident, $start:expr) => {
        contract! {
            $name, $start;
            all_see_one_order_the_appender_too
            pages_are_exact
            the_oldest_come_first
            a_long_page_ends_early
            a_position_in_an_empty_log_counts
            what_exceeds_the_size_is_gone_and_not_recovered
            what_is_missed_is_recovered_while_it_is_fewer_than_the_size
            what_is_past_its_time_is_gone_and_not_recovered
            another_nonce_epoch_or_offset_is_not_recovered
            a_position_that_was_never_given_out_recovers_nothing
            all_agree_on_the_position_of_a_room_that_nobody_used
            a_key_counts_once
            what_is_said_again_is_there_once
            a_thousand_go_at_once
            rooms_count_by_themselves
            the_longest_envelope_comes_back
            garbage_is_no_entry
        }
    };
    ($name:ident, $start:expr; $($behaviour:ident)*) => {
        mod $name {
            $(#[tokio::test]
            async fn $behaviour() {
                crate::contract::behaviours::$behaviour(&$start).await;
            })*
        }
    };
}

contract! { of_memory, crate::contract::servers::MemoryServer::default() }
contract! { of_the_hub, crate::contract::hub::OwnHub::start() }
#[cfg(feature = "redis")]
contract! { of_redis, crate::contract::servers::TcpServer::redis(&[]) }
#[cfg(feature = "redis")]
contract! { of_a_redis_cluster, crate::contract::redis::cluster() }
#[cfg(feature = "nats")]
contract! { of_nats, crate::contract::servers::TcpServer::jetstream() }

/// NATS does not know whether one more was there.
macro_rules! from_the_beginning {
    ($name:ident, $start:expr) => {
        contract! { $name, $start; as_many_as_the_size_are_recovered_from_the_beginning }
    };
}

from_the_beginning! { beginning_of_memory, crate::contract::servers::MemoryServer::default() }
from_the_beginning! { beginning_of_the_hub, crate::contract::hub::OwnHub::start() }
#[cfg(feature = "redis")]
from_the_beginning! { beginning_of_redis, crate::contract::servers::TcpServer::redis(&[]) }
#[cfg(feature = "redis")]
from_the_beginning! { beginning_of_a_redis_cluster, crate::contract::redis::cluster() }
