//! Which web pages may connect: cross-site WebSocket hijacking (CWE-1385) ends here.
//!
//! A browser sends `Origin` with every handshake and sends cookies along, whatever page the
//! script came from. So a handshake with an `Origin` has to be of the same origin, unless
//! the application names others. Clients that are no browsers send none and may pass.

use crate::connection::host_names::HostPattern;

/// The origins whose pages may connect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Origins {
    /// The page came from where the handshake goes.
    #[default]
    Same,
    /// The same, and these: `https://shop.example`, `https://*.shop.example`.
    Listed(Vec<Listed>),
    /// Any page of the web.
    Any,
}

/// A listed origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Listed {
    /// `null`: pages without an origin, such as files and sandboxed frames.
    Null,
    /// Without the scheme's default port (RFC 6454 §4).
    Pages { scheme: String, host: HostPattern },
}

/// A listed origin that is none, and so would never match.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid origin {origin:?}: {expected}")]
pub struct InvalidOrigin {
    origin: String,
    expected: String,
}

/// What the request says about where it goes.
pub(crate) struct Target<'a> {
    /// `Host`, or `X-Forwarded-Host` from a trusted proxy.
    pub(crate) host: Option<&'a str>,
    /// The scheme of the page that belongs to it, where that is known: TLS ends here, or a trusted proxy says it.
    pub(crate) scheme: Option<&'a str>,
}

impl Origins {
    /// `["*"]` is any; otherwise the listed ones, and the same origin.
    pub(crate) fn of(list: &[String]) -> Result<Self, InvalidOrigin> {
        let listed = list.iter().filter(|origin| *origin != "*").map(|origin| Listed::of(origin));
        let listed = listed.collect::<Result<_, _>>()?;
        Ok(if list.iter().any(|origin| origin == "*") { Origins::Any } else { Origins::Listed(listed) })
    }

    /// Whether a handshake with this `Origin` may go on.
    pub(crate) fn allow(&self, origin: &str, target: &Target<'_>) -> bool {
        match self {
            Origins::Any => true,
            Origins::Same => is_same(origin, target),
            Origins::Listed(list) => list.iter().any(|listed| listed.matches(origin)) || is_same(origin, target),
        }
    }
}

impl Listed {
    fn of(origin: &str) -> Result<Self, InvalidOrigin> {
        if origin == "null" {
            return Ok(Listed::Null);
        }
        let invalid = |expected: String| InvalidOrigin { origin: origin.to_owned(), expected };
        let Some((scheme, host)) = origin.split_once("://") else {
            let is_host = HostPattern::parse(origin).is_some();
            let example = if is_host { origin } else { "example.org" };
            return Err(invalid(format!("must have a scheme, as in \"https://{example}\"")));
        };
        let scheme = scheme.to_ascii_lowercase();
        if ["ws", "wss"].contains(&scheme.as_str()) {
            return Err(invalid("must have the scheme of the page, http or https".to_owned()));
        }
        let host = HostPattern::parse(host.strip_suffix('/').unwrap_or(host)).filter(|_| is_scheme(&scheme));
        let Some(host) = host else {
            return Err(invalid(
                "must be a scheme and a host, as in \"https://example.org\" or \"https://*.example.org\"".to_owned(),
            ));
        };
        let host = host.map(|host| host_of((&scheme, &host)));
        Ok(Listed::Pages { scheme, host })
    }

    fn matches(&self, origin: &str) -> bool {
        match (self, split(origin)) {
            (Listed::Null, _) => origin == "null",
            (Listed::Pages { scheme, host }, Some((of, at))) => {
                scheme.eq_ignore_ascii_case(of) && host.matches(&host_of((of, at)))
            }
            (Listed::Pages { .. }, None) => false,
        }
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_part)
}

fn is_same(origin: &str, target: &Target<'_>) -> bool {
    let (Some((scheme, host)), Some(own)) = (split(origin), target.host) else { return false };
    let own_scheme = target.scheme.map(page_scheme);
    if own_scheme.is_some_and(|own| !scheme.eq_ignore_ascii_case(own)) {
        return false;
    }
    host_of((scheme, host)) == host_of((scheme, own))
}

/// A proxy may name the scheme of the handshake.
fn page_scheme(scheme: &str) -> &str {
    match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    }
}

/// `null`, and whatever has no host, is nobody's origin.
fn split(origin: &str) -> Option<(&str, &str)> {
    origin.split_once("://").filter(|(_, host)| !host.is_empty())
}

/// Host and port in lower case, without the scheme's default port.
fn host_of((scheme, host): (&str, &str)) -> String {
    let host = host.to_ascii_lowercase();
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return host,
    };
    // Not the end of an IPv6 address: that stands in brackets.
    host.strip_suffix(port).map(str::to_owned).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(origin: &str, host: &str, tls: bool) -> bool {
        Origins::Same.allow(origin, &Target { host: Some(host), scheme: tls.then_some("https") })
    }

    fn of(list: &[&str]) -> Origins {
        Origins::of(&list.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_wildcard_stands_for_labels_in_front_of_a_host() {
        let listed = of(&["https://*.x.org", "http://*.dev.example:3000", "https://*.y.org:443"]);
        let target = Target { host: Some("api.example"), scheme: None };
        for (origin, allowed) in [
            ("https://a.x.org", true),
            ("https://A.b.X.org", true),
            ("https://a.x.org:443", true),
            ("https://x.org", false),
            ("http://a.x.org", false),
            ("https://a.x.org:8443", false),
            ("https://evilx.org", false),
            ("https://a.x.org.evil.example", false),
            ("https://evil.example/.x.org", false),
            ("https://.x.org", false),
            ("http://a.dev.example:3000", true),
            ("http://a.dev.example", false),
            ("https://a.y.org", true),
        ] {
            assert_eq!(listed.allow(origin, &target), allowed, "{origin}");
        }
    }

    #[test]
    fn what_could_never_match_is_an_error() {
        for (origin, hint) in [
            ("x.org", "\"https://x.org\""),
            ("x.org:8000", "\"https://x.org:8000\""),
            ("*.x.org", "\"https://*.x.org\""),
            ("x.org/", "\"https://example.org\""),
            ("", "scheme"),
            ("wss://x.org", "http or https"),
            ("https://", "a host"),
            ("https://*", "a host"),
            ("https://x.*", "a host"),
            ("https://a*.x.org", "a host"),
            ("https://x.org/path", "a host"),
            ("https://u@x.org", "a host"),
            ("https://b\u{fc}cher.example", "a host"),
            ("*://x.org", "a host"),
            (" https://x.org", "a host"),
            ("https://x.org,https://y.org", "a host"),
        ] {
            let error = Origins::of(&[origin.to_owned(), "*".to_owned()]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid origin {origin:?}: ")) && error.contains(hint), "{error}");
        }
        assert_ne!(of(&["null", "chrome-extension://abcdef", "capacitor://localhost"]), Origins::Any);
    }

    #[test]
    fn the_same_host_and_port_may_pass() {
        assert!(same("http://shop.example", "shop.example", false));
        assert!(same("http://Shop.Example", "shop.example:80", false));
        assert!(same("http://localhost:8000", "localhost:8000", false));
        assert!(same("http://[::1]:8000", "[::1]:8000", false));
        // A proxy may have ended TLS: the scheme is not known here.
        assert!(same("https://shop.example", "shop.example", false));
        assert!(same("https://shop.example", "shop.example:443", true));
    }

    #[test]
    fn any_other_origin_is_refused() {
        for (origin, host, tls) in [
            ("http://evil.example", "shop.example", false),
            ("http://shop.example:8080", "shop.example", false),
            ("http://shop.example.evil.example", "shop.example", false),
            ("http://evil-shop.example", "shop.example", false),
            ("http://shop.example", "shop.example", true),
            ("null", "shop.example", false),
            ("null", "null", false),
            ("", "", false),
            ("file://", "", false),
            ("http://shop.example:80", "shop.example:443", false),
        ] {
            assert!(!same(origin, host, tls), "{origin} {host} {tls}");
        }
        assert!(!Origins::Same.allow("http://a", &Target { host: None, scheme: None }));
    }

    #[test]
    fn the_scheme_counts_where_a_proxy_says_it() {
        let allowed =
            |origin: &str, scheme| Origins::Same.allow(origin, &Target { host: Some("a"), scheme: Some(scheme) });
        assert!(allowed("https://a", "https") && allowed("https://a", "wss") && allowed("http://a", "http"));
        assert!(!allowed("http://a", "https") && !allowed("https://a", "http") && !allowed("http://a", ""));
    }

    #[test]
    fn listed_origins_match_exactly_and_beside_the_same() {
        let listed = of(&["https://app.example/", "http://dev:3000"]);
        let target = Target { host: Some("api.example"), scheme: None };
        for (origin, allowed) in [
            ("https://app.example", true),
            ("https://app.example:443", true),
            ("https://APP.example", true),
            ("http://dev:3000", true),
            ("https://api.example", true),
            ("http://app.example", false),
            ("https://sub.app.example", false),
            ("http://dev", false),
            ("null", false),
        ] {
            assert_eq!(listed.allow(origin, &target), allowed, "{origin}");
        }
    }

    #[test]
    fn a_star_allows_everybody_and_null_only_when_it_is_listed() {
        let target = Target { host: Some("a"), scheme: Some("https") };
        assert!(of(&["*"]).allow("null", &target));
        assert!(of(&["null"]).allow("null", &target));
        assert!(!of(&[]).allow("null", &target));
    }
}
