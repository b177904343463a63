//! What the answers of Redis say of a command.

use redis::{ErrorKind, RedisError};

use crate::engines::link::LinkError;

const REPLICA: &str =
    "this server is a replica: give the address of the one that writes, or redis+sentinel://a:26379,b:26379/name";
const CLUSTER: &str = "this is a cluster, use redis+cluster://host:port";

/// Says that a server is a replica. Others may write, and it may again.
pub(super) fn replica() -> LinkError {
    LinkError::Elsewhere(REPLICA.to_owned())
}

/// Says that a server has some of the slots of a cluster, and would not take what is in others.
pub(super) fn cluster() -> LinkError {
    LinkError::Refused(CLUSTER.to_owned())
}

/// Says that a server carries no messages, and knows which does.
pub(super) fn sentinel() -> LinkError {
    LinkError::Refused("this is a sentinel, use redis+sentinel://host:port/name".to_owned())
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        let reason = error.to_string();
        let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        if let Some(code) = error.code().filter(|_| is_answer) {
            return answered(code, reason);
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
                LinkError::Refused(reason)
            }
            // The connection, or what came over it: another may be better.
            _ => LinkError::Lost(reason),
        }
    }
}

/// Classifies an error that a server has answered, by its code. With each of them the command has done nothing.
fn answered(code: &str, reason: String) -> LinkError {
    match code {
        "LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY" => LinkError::Later(reason),
        "OOM" | "MISCONF" | "NOREPLICAS" => LinkError::Unable(reason),
        "READONLY" => LinkError::Elsewhere(format!("{reason}; {REPLICA}")),
        "MOVED" | "ASK" => LinkError::Elsewhere(format!("{CLUSTER} ({reason})")),
        // It says so before it closes the connection.
        "ERR" if reason.contains("max number of clients") => LinkError::Lost(reason),
        // ERR, NOPERM, NOAUTH, WRONGPASS, WRONGTYPE, CROSSSLOT, EXECABORT, and what a later release answers.
        _ => LinkError::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the kind of error that a server's line becomes.
    fn kind(line: &str) -> &'static str {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let error = LinkError::from(value.extract_error().unwrap_err());
        let detail = line.split_once(' ').unwrap().1;
        assert!(error.to_string().contains(detail), "{error} says {detail:?}");
        error.kind()
    }

    #[test]
    fn each_answer_of_a_server_says_what_is_done_next() {
        for (line, expected) in [
            ("LOADING Redis is loading the dataset in memory", "later"),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "later"),
            ("CLUSTERDOWN The cluster is down", "later"),
            ("CLUSTERDOWN Hash slot not served", "later"),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "later"),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "later"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "unable"),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                "unable",
            ),
            ("NOREPLICAS Not enough good replicas to write.", "unable"),
            ("READONLY You can't write against a read only replica.", "elsewhere"),
            ("MOVED 3999 127.0.0.1:6381", "elsewhere"),
            ("ASK 3999 127.0.0.1:6381", "elsewhere"),
            ("ERR max number of clients reached", "lost"),
            ("ERR unknown command 'SPUBLISH'", "refused"),
            ("NOPERM User ann has no permissions to run the 'evalsha' command", "refused"),
            ("NOAUTH Authentication required.", "refused"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "refused"),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", "refused"),
            ("CROSSSLOT Keys in request don't hash to the same slot", "refused"),
            ("SOMETHING that a later release answers", "refused"),
        ] {
            assert_eq!(kind(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_answer_is_a_connection_that_is_lost() {
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(LinkError::from(broken), LinkError::Lost(_)));
        let refused = RedisError::from((ErrorKind::AuthenticationFailed, "no"));
        assert!(matches!(LinkError::from(refused), LinkError::Refused(_)));
    }
}
