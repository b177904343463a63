//! Which web pages may connect: cross-site WebSocket hijacking (CWE-1385) ends here.
//!
//! A browser sends `Origin` with every handshake and sends cookies along, whatever page the
//! script came from. So a handshake with an `Origin` has to be of the same origin, unless
//! the application names others. Clients that are no browsers send none and may pass.

/// The origins whose pages may connect.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Origins {
    /// The page came from where the handshake goes.
    #[default]
    Same,
    /// The same, and these exactly: `https://shop.example`.
    Listed(Vec<String>),
    /// Any page of the web.
    Any,
}

/// What the request says about where it goes.
pub(crate) struct Target<'a> {
    /// `Host`, or `X-Forwarded-Host` from a trusted proxy.
    pub(crate) host: Option<&'a str>,
    /// The scheme of the page that belongs to it, where that is known: TLS ends here, or a trusted proxy says it.
    pub(crate) scheme: Option<&'a str>,
}

impl Origins {
    /// `["*"]` is any; otherwise exactly the listed ones, beside the same origin.
    pub(crate) fn of<I: IntoIterator<Item: Into<String>>>(list: I) -> Self {
        let list: Vec<String> = list.into_iter().map(Into::into).collect();
        if list.iter().any(|origin| origin == "*") {
            return Origins::Any;
        }
        Origins::Listed(list.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    /// Whether a handshake with this `Origin` may go on.
    pub(crate) fn allow(&self, origin: &str, target: &Target<'_>) -> bool {
        match self {
            Origins::Any => true,
            Origins::Same => is_same(origin, target),
            Origins::Listed(list) => list.iter().any(|listed| is_equal(listed, origin)) || is_same(origin, target),
        }
    }
}

/// RFC 6454 §4: scheme, host and port; the default port may be left out.
fn is_equal(listed: &str, origin: &str) -> bool {
    match (split(listed), split(origin)) {
        (Some(a), Some(b)) => a.0.eq_ignore_ascii_case(b.0) && host_of(a) == host_of(b),
        // "null" listed explicitly
        _ => listed == origin,
    }
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
        let listed = Origins::of(["https://app.example/", "http://dev:3000"]);
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
        assert!(Origins::of(["*"]).allow("null", &target));
        assert!(Origins::of(["null"]).allow("null", &target));
        assert!(!Origins::of(Vec::<String>::new()).allow("null", &target));
    }
}
