//! What a server says of itself when it is connected to: one that is of no use is left before anybody relies on it.

use redis::{cmd, from_redis_value};

use super::Connection;
use super::answers::{cluster, replica, sentinel};
use crate::engines::link::LinkError;

/// A server that takes messages.
pub(super) struct Server {
    /// Replicas that it has now, where one server is asked and may say so.
    pub(super) replicas: u32,
}

/// The lines of `INFO` that matter.
#[derive(Default, PartialEq, Eq, Debug)]
struct Info {
    mode: String,
    is_replica: bool,
    replicas: u32,
}

impl Server {
    /// Asks a server what it is.
    ///
    /// # Errors
    /// It takes no messages, or not those of all channels.
    pub(super) async fn examine(connection: &Connection) -> Result<Self, LinkError> {
        let info = info(connection).await?;
        match &*info.mode {
            "sentinel" => return Err(sentinel()),
            "cluster" if shards(connection).await? > 1 => return Err(cluster()),
            _ if info.is_replica => return Err(replica()),
            _ => {}
        }
        check_version(connection).await?;
        Ok(Server { replicas: info.replicas })
    }
}

/// Reads what one server says; of a cluster its client knows more, and of one that may not say it nothing is known.
async fn info(connection: &Connection) -> Result<Info, LinkError> {
    if let Connection::Cluster(_) = connection {
        return Ok(Info::default());
    }
    match connection.ask(cmd("INFO").arg("server").arg("replication")).await {
        Err(LinkError::Refused(_)) => Ok(Info::default()),
        answer => Ok(Info::read(&from_redis_value::<String>(answer?).map_err(LinkError::lost)?)),
    }
}

impl Info {
    fn read(text: &str) -> Self {
        let field = |name: &str| {
            let mut fields = text.lines().filter_map(|line| line.trim().split_once(':'));
            fields.find_map(|(key, value)| (key == name).then_some(value)).unwrap_or_default()
        };
        // A replica that may be written to has its own say.
        let is_replica = field("role") == "slave" && field("slave_read_only") != "0";
        let replicas = field("connected_slaves").parse().unwrap_or(0);
        Info { mode: field("redis_mode").to_owned(), is_replica, replicas }
    }
}

/// Counts the masters of a cluster that have slots.
async fn shards(connection: &Connection) -> Result<u32, LinkError> {
    let answer = match connection.ask(cmd("CLUSTER").arg("INFO")).await {
        Err(LinkError::Refused(_)) => return Ok(0),
        answer => answer?,
    };
    let text: String = from_redis_value(answer).map_err(LinkError::lost)?;
    let size = text.lines().find_map(|line| line.trim().strip_prefix("cluster_size:"));
    Ok(size.and_then(|size| size.parse().ok()).unwrap_or(0))
}

/// Sharded pub/sub came with Redis 7.
async fn check_version(connection: &Connection) -> Result<(), LinkError> {
    match connection.ask(cmd("SPUBLISH").arg("nexios-probe").arg("")).await {
        Err(LinkError::Refused(reason)) if reason.to_lowercase().contains("unknown command") => {
            Err(LinkError::Refused("it is older than Redis 7".to_owned()))
        }
        // The messages of an application have channels of their own, which may be all that is permitted.
        Err(LinkError::Refused(reason)) if reason.contains("NOPERM") => Ok(()),
        answer => answer.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_what_it_says() {
        let master = "# Server\r\nredis_mode:standalone\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n";
        let standalone = |is_replica, replicas| Info { mode: "standalone".to_owned(), is_replica, replicas };
        assert_eq!(Info::read(master), standalone(false, 2));
        let replica = "redis_mode:standalone\r\nrole:slave\r\nslave_read_only:1\r\nconnected_slaves:0\r\n";
        assert_eq!(Info::read(replica), standalone(true, 0));
        let writable = replica.replace("slave_read_only:1", "slave_read_only:0");
        assert_eq!(Info::read(&writable), standalone(false, 0));
        assert_eq!(Info::read(""), Info::default());
    }
}
