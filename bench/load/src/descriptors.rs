//! The limit on open descriptors.

use anyhow::Result;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's limit on descriptors, which its children inherit, as
/// far as the system lets it, and returns the limit.
pub fn raise_descriptor_limit() -> Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}
