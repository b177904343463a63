//! Which hosts are served, against DNS rebinding: a page that makes its own name lead here sends that name as `Host`,
//! and is of the same origin as itself.

use crate::connection::host_names::HostPattern;

/// The hosts of which requests are answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum AllowedHosts {
    /// Whatever they ask for.
    #[default]
    Any,
    /// These, with any port where the pattern has none.
    Listed(Vec<HostPattern>),
}

/// An entry of the allowed hosts that is no host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "invalid allowed host {0:?}: must be a name or an address, as in \"example.org\", \"*.example.org\" or \"[::1]\""
)]
pub struct InvalidHost(pub String);

impl AllowedHosts {
    /// `["*"]` is any host.
    pub(crate) fn of(list: &[String]) -> Result<Self, InvalidHost> {
        if list.iter().any(|host| host == "*") {
            return Ok(AllowedHosts::Any);
        }
        let patterns = list.iter().map(|text| HostPattern::parse(text).ok_or_else(|| InvalidHost(text.clone())));
        Ok(AllowedHosts::Listed(patterns.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_any(&self) -> bool {
        *self == AllowedHosts::Any
    }

    /// Returns true if a request to this host may be answered. One that names no host may not where hosts are listed.
    pub(crate) fn allow(&self, host: Option<&str>) -> bool {
        let AllowedHosts::Listed(list) = self else { return true };
        let Some(host) = host.map(str::to_ascii_lowercase) else { return false };
        let (name, port) = split_port(&host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let whole = format!("{name}{port}");
        list.iter().any(|pattern| match split_port(pattern.text()).1 {
            "" => pattern.matches(name),
            _ => pattern.matches(&whole),
        })
    }
}

/// A host, and its port with the colon. The colons of an IPv6 address stand in brackets.
fn split_port(host: &str) -> (&str, &str) {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    let colon = host[end..].find(':').map_or(host.len(), |at| end + at);
    host.split_at(colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_allowed_with_any_port_unless_one_is_listed() {
        let listed = ["Example.org", "*.example.net", "admin.example:8443", "[::1]", "127.0.0.1"];
        let hosts = AllowedHosts::of(&listed.map(str::to_owned)).unwrap();
        for (host, allowed) in [
            (Some("example.org"), true),
            (Some("EXAMPLE.org:8000"), true),
            (Some("example.org."), true),
            (Some("a.example.org"), false),
            (Some("a.b.example.net:1"), true),
            (Some("example.net"), false),
            (Some("admin.example"), false),
            (Some("admin.example:8443"), true),
            (Some("admin.example:8444"), false),
            (Some("[::1]:8000"), true),
            (Some("[::2]"), false),
            (Some("127.0.0.1:80"), true),
            (Some("evil.example"), false),
            (Some("example.org.evil.example"), false),
            (Some("example.org@evil.example"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(hosts.allow(host), allowed, "{host:?}");
        }
        assert!(AllowedHosts::default().allow(None));
        assert!(AllowedHosts::of(&["a".into(), "*".into()]).unwrap().allow(Some("evil.example")));
        assert!(!AllowedHosts::of(&[]).unwrap().allow(Some("a")));
    }

    #[test]
    fn what_is_no_host_is_an_error() {
        for text in ["https://example.org", "example.org/", ".example.org", "", "a b", "*.*", "::1", "ex*.org"] {
            assert_eq!(AllowedHosts::of(&[text.to_owned()]), Err(InvalidHost(text.to_owned())));
        }
    }
}
