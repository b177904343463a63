//! The upgrade request as handlers see it: headers, cookies, query, path parameters.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr;

use nexios_protocol::{RequestHead, trim_whitespace, trim_whitespace_of};

use crate::routing::path::percent_decode_lossy;

/// The request's header fields: names in any case, repeated fields kept.
///
/// ```
/// # async fn handler(ws: nexios::WebSocket) -> nexios::Result {
/// let headers = ws.headers();
/// if headers.get("authorization").is_none() {
///     ws.close(1008, "Authentication required").await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Headers(Option<Rc<RequestHead>>);

/// The parameters of the request's query, decoded, in their order.
///
/// ```
/// let query: nexios::request::QueryParams = "room=a%20b&tag=x&tag=y".parse()?;
/// assert_eq!(query.get("room"), Some("a b"));
/// assert_eq!(query.get_all("tag").collect::<Vec<_>>(), ["x", "y"]);
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueryParams(Vec<(String, String)>);

/// The request's cookies (RFC 6265 §5.4).
///
/// ```
/// let cookies: nexios::request::Cookies = "session=abc; theme=\"dark\"".parse()?;
/// assert_eq!(cookies.get("session"), Some("abc"));
/// assert_eq!(cookies.get("theme"), Some("dark"));
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cookies(Vec<(String, String)>);

/// The values of a route's `{parameters}`, decoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathParams(Vec<(Box<str>, String)>);

/// A path parameter is missing, or is not what it has to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathParamError {
    /// The route has no such parameter.
    #[error("the route has no parameter {0:?}")]
    Missing(String),
    /// The text does not parse.
    #[error("path parameter {name:?}: {error}")]
    Invalid {
        /// The parameter.
        name: String,
        /// What its type says.
        error: String,
    },
}

/// Who is on the other side: [`WebSocket::client`](crate::WebSocket::client).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client {
    /// The address; behind a trusted proxy the one that the proxy names.
    pub host: IpAddr,
    /// The port; behind a proxy that of the proxy's own connection.
    pub port: u16,
}

impl Headers {
    pub(crate) fn new(head: Option<Rc<RequestHead>>) -> Self {
        Headers(head)
    }

    /// The first field of this name, if its value is UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_deref()?.header(name)
    }

    /// The values of all the fields of this name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.as_deref().into_iter().flat_map(move |head| head.header_values(name))
    }

    /// The values of all the fields of this name, as they were sent.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let values = self.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        values.collect::<Vec<_>>().into_iter()
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// All fields in their order; values need not be UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.as_deref().into_iter().flat_map(|head| head.headers())
    }
}

impl QueryParams {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        first(&self.0, name)
    }

    /// All values of this name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The `application/x-www-form-urlencoded` parser of the URL standard.
impl FromStr for QueryParams {
    type Err = std::convert::Infallible;

    fn from_str(query: &str) -> Result<Self, Self::Err> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Ok(QueryParams(pairs.map(|(name, value)| (form_decode(name), form_decode(value))).collect()))
    }
}

fn form_decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_lossy(&text)
}

impl Cookies {
    pub(crate) fn of(headers: &Headers) -> Self {
        Cookies(headers.values("cookie").flat_map(parse_cookies).collect())
    }

    /// The cookie of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        first(&self.0, name)
    }

    /// All names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromStr for Cookies {
    type Err = std::convert::Infallible;

    fn from_str(header: &str) -> Result<Self, Self::Err> {
        Ok(Cookies(parse_cookies(header.as_bytes()).collect()))
    }
}

/// Each cookie by itself: bytes of one that are not UTF-8 say nothing of the others. They are read as latin-1, as
/// other frameworks do.
fn parse_cookies(header: &[u8]) -> impl Iterator<Item = (String, String)> {
    header.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (trim_whitespace(&pair[..equals]), trim_whitespace(&pair[equals + 1..]));
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some((text_of(name), text_of(unquoted.unwrap_or(value))))
    })
}

fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

impl PathParams {
    pub(crate) fn new(captures: Vec<(Box<str>, String)>) -> Self {
        PathParams(captures)
    }

    /// The text of this parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| **other == *name).map(|(_, value)| value.as_str())
    }

    /// The parameter as a `T`.
    ///
    /// # Errors
    /// [`PathParamError`]: there is no such parameter, or it does not parse.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, PathParamError> {
        let text = self.get(name).ok_or_else(|| PathParamError::Missing(name.into()))?;
        text.parse().map_err(|error: T::Err| PathParamError::Invalid { name: name.into(), error: error.to_string() })
    }

    /// All names and values in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.as_str()))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.host, self.port).fmt(f)
    }
}

/// The subprotocols that the client offers, in its order of preference (RFC 6455 §4.1).
pub(crate) fn offered_subprotocols(headers: &Headers) -> Vec<String> {
    let lists = headers.get_all("sec-websocket-protocol");
    let names = lists.flat_map(|list| list.split(',')).map(trim_whitespace_of);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nexios_protocol::HeadLimits;

    /// A request for `target` with these header lines.
    pub(crate) fn headers(target: &str, lines: &[&str]) -> Headers {
        let head = format!("GET {target} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        let limits = HeadLimits { head_bytes_max: 8192, headers_max: 64 };
        let (head, _) = RequestHead::parse(head.as_bytes(), &limits).unwrap().unwrap();
        Headers::new(Some(Rc::new(head)))
    }

    #[test]
    fn header_names_have_no_case_and_repeated_fields_are_kept() {
        let headers = headers("/", &["Host: a", "X-Tag: 1", "x-tag: 2"]);
        assert_eq!(headers.get("X-TAG"), Some("1"));
        assert_eq!(headers.get_all("x-Tag").collect::<Vec<_>>(), ["1", "2"]);
        assert!(headers.contains("HOST"));
        assert_eq!(headers.get("missing"), None);
        assert_eq!(headers.iter().count(), 3);
    }

    #[test]
    fn a_dropped_head_reads_as_empty() {
        let headers = Headers::new(None);
        assert_eq!(headers.get("host"), None);
        assert_eq!(headers.iter().count(), 0);
        assert_eq!(Cookies::of(&headers), Cookies::default());
    }

    #[test]
    fn query_values_are_decoded() {
        let query: QueryParams = "a=1&b=x+y%26z&flag&=v&&bad=%ff&mixed=%41%zz%ff%42".parse().unwrap();
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("x y&z"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get(""), Some("v"));
        assert_eq!(query.get("bad"), Some("\u{fffd}"));
        assert_eq!(query.get("mixed"), Some("A%zz\u{fffd}B"), "what can be decoded is");
    }

    #[test]
    fn cookies_come_from_every_cookie_field() {
        let headers = headers("/", &["Host: a", "Cookie: a=1; b=2", "Cookie: c=x=y; =empty; lonely"]);
        let cookies = Cookies::of(&headers);
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "x=y")] {
            assert_eq!(cookies.get(name), Some(value));
        }
        assert_eq!(cookies.get("lonely"), None);
    }

    #[test]
    fn one_byte_that_is_not_utf8_leaves_the_other_cookies_alone() {
        let cookies = Cookies(parse_cookies(b"a=1; b=\xe9t\xe9; \xff=x; c=2").collect());
        assert_eq!((cookies.get("a"), cookies.get("c")), (Some("1"), Some("2")));
        assert_eq!((cookies.get("b"), cookies.get("\u{ff}")), (Some("\u{e9}t\u{e9}"), Some("x")));
    }

    #[test]
    fn only_the_white_space_of_http_is_trimmed() {
        let cookies: Cookies = "\u{2000}session=evil; \tsession=\u{a0}x \t".parse().unwrap();
        assert_eq!(cookies.get("session"), Some("\u{a0}x"));
        assert_eq!(cookies.get("\u{2000}session"), Some("evil"));
    }

    #[test]
    fn path_parameters_are_typed_on_access() {
        let params = PathParams::new(vec![("id".into(), "42".into()), ("name".into(), "x".into())]);
        assert_eq!(params.parse::<u8>("id"), Ok(42));
        assert!(matches!(params.parse::<u8>("name"), Err(PathParamError::Invalid { .. })));
        assert_eq!(params.parse::<u8>("nope"), Err(PathParamError::Missing("nope".into())));
    }

    #[test]
    fn offered_subprotocols_are_one_list_over_all_fields() {
        let headers = headers("/", &["Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c,,"]);
        assert_eq!(offered_subprotocols(&headers), ["a", "b", "c"]);
    }
}
