//! Names of hosts in lists: as they are, or with a wildcard for the labels in front.

use nexios_protocol::is_host;

/// A host, or all hosts below one; in lower case, with the port where it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HostPattern {
    /// `example.org`
    Exact(String),
    /// `*.example.org`, kept as `.example.org`: one or more labels in front of it, and not `example.org` itself.
    Below(String),
}

impl HostPattern {
    /// Reads `host`, `host:port`, `*.host` or `*.host:port`; `None` if the text is none of them.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, is_below) = text.strip_prefix("*.").map_or((text.as_str(), false), |name| (name, true));
        let is_name = !name.is_empty() && is_host(name.as_bytes()) && !name.starts_with('.') && !name.contains('*');
        match is_below {
            _ if !is_name => None,
            true if name.starts_with('[') => None,
            true => Some(HostPattern::Below(format!(".{name}"))),
            false => Some(HostPattern::Exact(name.to_owned())),
        }
    }

    /// Returns true if this host, in lower case, is meant.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => name == host,
            HostPattern::Below(suffix) => host.strip_suffix(suffix.as_str()).is_some_and(are_labels),
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            HostPattern::Exact(text) | HostPattern::Below(text) => text,
        }
    }

    pub(crate) fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            HostPattern::Exact(text) => HostPattern::Exact(change(text)),
            HostPattern::Below(text) => HostPattern::Below(change(text)),
        }
    }
}

fn are_labels(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label_or_more_in_front() {
        let below = HostPattern::parse("*.X.org").unwrap();
        for (host, matches) in [
            ("a.x.org", true),
            ("a.b.x.org", true),
            ("x.org", false),
            (".x.org", false),
            ("a..x.org", false),
            ("evilx.org", false),
            ("a.x.org.evil", false),
            ("a.x.org:80", false),
            ("evil.example/.x.org", false),
            ("evil.example:80.x.org", false),
        ] {
            assert_eq!(below.matches(host), matches, "{host}");
        }
        assert!(HostPattern::parse("*.x.org:8443").unwrap().matches("a.x.org:8443"));
    }

    #[test]
    fn a_wildcard_anywhere_else_is_an_error() {
        for text in ["", "*", "*.", "**.x.org", "*x.org", "a.*.org", "x.*", "*.*.x.org", ".x.org", "*.[::1]", "a b"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }
}
