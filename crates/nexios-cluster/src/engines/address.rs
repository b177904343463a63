//! The address of a broker: `scheme://user:password@host:port,host:port/path?name=value`.
//!
//! What could be a secret is in no error and in no line of a log: user and password, a port that is not a number, and
//! the value of a parameter that is not known.

use std::fmt::Write;
#[cfg(any(feature = "redis", feature = "nats"))]
use std::path::Path;
use std::path::PathBuf;

/// Parameters whose values may be shown.
const SHOWN: [&str; 7] = ["replicas", "db", "credentials", "tls_ca", "tls_cert", "tls_key", "sentinel_user"];
/// Parameters whose values may hold an `@` as it is; elsewhere it shows that a password holds a `?`.
const MAY_HAVE_AT: [&str; 6] = ["credentials", "tls_ca", "tls_cert", "tls_key", "sentinel_user", "sentinel_password"];
/// Parameters that each broker over TCP has.
pub(crate) const TLS: [&str; 3] = ["tls_ca", "tls_cert", "tls_key"];

/// An address in its parts, decoded.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) hosts: Vec<Host>,
    /// With the `/` that it begins with.
    pub(crate) path: String,
    parameters: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Host {
    /// An address of IPv6 is without its brackets.
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

/// Files that a connection over TLS needs.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tls {
    /// The certificates that are trusted, instead of those that the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate that this node shows, and its key.
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Address {
    /// Parses an address of servers.
    ///
    /// # Errors
    /// What is wrong, without a secret.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        Address::of(url, |rest| {
            let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            Ok((hosts.split(',').map(Host::parse).collect::<Result<_, _>>()?, path))
        })
    }

    /// Parses an address of a file, which has no host.
    ///
    /// # Errors
    /// What is wrong, without a secret.
    pub(crate) fn parse_file(url: &str) -> Result<Self, String> {
        Address::of(url, |rest| match rest.strip_prefix('/') {
            Some(path) if !path.is_empty() => Ok((Vec::new(), rest)),
            _ => Err("the path is missing: write ///path/to/socket".to_owned()),
        })
    }

    fn of(url: &str, place: impl FnOnce(&str) -> Result<(Vec<Host>, &str), String>) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("the // behind the scheme is missing")?;
        let (place_and_user, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, rest) = place_and_user.rsplit_once('@').unwrap_or(("", place_and_user));
        if user.contains("://") {
            return Err("user and password are written once, before the first host".to_owned());
        }
        let parameters = parameters(query).map_err(|error| match (user, query.contains('@')) {
            ("", true) => format!("{error}; a ? in a password is written %3F"),
            _ => error,
        })?;
        let has_at = |(name, value): &(String, String)| value.contains('@') && !MAY_HAVE_AT.contains(&&**name);
        if query.contains('@') && parameters.iter().any(has_at) {
            return Err("a ? in a password is written %3F".to_owned());
        }
        let (hosts, path) = place(rest)?;
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(decode(password).ok_or("the password is not UTF-8")?)),
            None => (user, None),
        };
        let user = decode(user).ok_or("the user is not UTF-8")?;
        let path = decode(path).ok_or("the path is not UTF-8")?;
        let user = Some(user).filter(|user| !user.is_empty());
        Ok(Address { scheme: scheme.to_owned(), user, password, hosts, path, parameters })
    }

    /// Checks that there are no other parameters than these.
    pub(crate) fn allow(&self, known: &[&str]) -> Result<(), String> {
        let unknown = self.parameters.iter().find(|(name, _)| !known.contains(&&**name));
        let Some((name, _)) = unknown else { return Ok(()) };
        let hint = match &**name {
            "password" | "pass" | "username" | "user" => {
                "; user and password stand before the host, user:password@host"
            }
            _ => "",
        };
        Err(format!("unknown parameter {name:?}: there are {}{hint}", known.join(", ")))
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The files that its parameters name, else those of the settings.
    pub(crate) fn tls(&self, settings: &Tls) -> Result<Tls, String> {
        let file = |name, setting: &Option<PathBuf>| match self.parameter(name) {
            Some("") => Err(format!("{name}= names no file")),
            Some(path) => Ok(Some(PathBuf::from(path))),
            None => Ok(setting.clone()),
        };
        let [ca, cert, key] = TLS;
        Tls { ca: file(ca, &settings.ca)?, cert: file(cert, &settings.cert)?, key: file(key, &settings.key)? }.check()
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((name, rest)) => (name, rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest))),
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err("a host is missing".to_owned());
        }
        let number = |port: &str| port.parse().ok().filter(|port| *port > 0);
        let port = match port {
            Some(port) => {
                // It may be a password that nobody meant to write here.
                Some(number(port).ok_or_else(|| format!("the port of {name:?} is not a number from 1 to 65535"))?)
            }
            None => None,
        };
        Ok(Host { name: decode(name).ok_or("a host is not UTF-8")?, port })
    }
}

impl Tls {
    pub(crate) fn is_set(&self) -> bool {
        *self != Tls::default()
    }

    fn check(self) -> Result<Self, String> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Err("tls_cert needs tls_key, the key of the certificate".to_owned()),
            (None, Some(_)) => Err("tls_key needs tls_cert, the certificate of the key".to_owned()),
            _ => Ok(self),
        }
    }

    /// Reads a file that a setting names.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) fn read(setting: &str, path: &Path) -> Result<Vec<u8>, crate::engines::link::LinkError> {
        let refused = |error| {
            crate::engines::link::LinkError::Refused(format!("cannot read {setting} {}: {error}", path.display()))
        };
        std::fs::read(path).map_err(refused)
    }
}

/// Reads `name=value&name=value`.
fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    let mut parameters = Vec::<(String, String)>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let named = pair.split_once('=').filter(|(name, _)| is_name(name));
        // What has no name may be a part of a secret.
        let (name, value) = named.ok_or("parameters are written ?name=value&name=value")?;
        if parameters.iter().any(|(known, _)| known == name) {
            return Err(format!("the parameter {name:?} is there twice"));
        }
        let value = decode(value).ok_or_else(|| format!("the parameter {name:?} is not UTF-8"))?;
        parameters.push((name.to_owned(), value));
    }
    Ok(parameters)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Decodes `%xx`; whatever else is there stays.
fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (b'%', [high, low, behind @ ..]) if digit(*high).is_some() && digit(*low).is_some() => {
                let value = digit(*high)? * 16 + digit(*low)?;
                bytes.push(u8::try_from(value).ok()?);
                rest = behind;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Returns an address as it may be shown.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned();
    };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    // A ? in a password ends what looks like the hosts, and what is behind it looks like parameters.
    if query.is_some_and(|query| query.contains('@')) {
        return format!("{scheme}://***");
    }
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let (hosts, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let mut shown = format!("{scheme}://{}{path}", hosts.split(',').map(shown_host).collect::<Vec<_>>().join(","));
    let pairs = query.into_iter().flat_map(|query| query.split('&')).map(|pair| pair.split_once('='));
    for (at, pair) in pairs.enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        // Writing to a `String` cannot fail.
        let _ = match pair {
            Some((name, value)) if SHOWN.contains(&name) => write!(shown, "{name}={value}"),
            Some((name, _)) if is_name(name) => write!(shown, "{name}=***"),
            _ => write!(shown, "***"),
        };
    }
    shown
}

/// A port that is not a number may be a password.
fn shown_host(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') && port.parse::<u16>().is_err() => {
            format!("{}:***", name.split(':').next().unwrap_or_default())
        }
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(url: &str) -> (Option<String>, Option<String>) {
        let address = Address::parse(url).unwrap();
        (address.user, address.password)
    }

    fn some(user: &str, password: &str) -> (Option<String>, Option<String>) {
        (Some(user.to_owned()), Some(password.to_owned()))
    }

    #[test]
    fn a_password_may_hold_anything_encoded_or_as_it_is() {
        assert_eq!(user("nats://ann:s%40c%3Dr%3Aet%20x@host"), some("ann", "s@c=r:et x"));
        assert_eq!(user("nats://ann:s@c=r:et x@host"), some("ann", "s@c=r:et x"));
        assert_eq!(user("redis://:pa/ss#@host/1"), (None, Some("pa/ss#".to_owned())));
        assert_eq!(user("nats://to%2Fken@host"), (Some("to/ken".to_owned()), None));
        assert_eq!(user("redis://%61nn:100%@host"), some("ann", "100%"));
        assert_eq!(user("redis://ann:%c3%a9+@host"), some("ann", "é+"));
        assert_eq!(user("redis://host"), (None, None));
        assert!(Address::parse("redis://:%ff@host").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn hosts_have_ports_or_none() {
        let hosts = |url: &str| Address::parse(url).map(|address| address.hosts);
        let host = |name: &str, port| Host { name: name.to_owned(), port };
        assert_eq!(
            hosts("nats://a:1,b,[::1]:2,[::2]"),
            Ok(vec![host("a", Some(1)), host("b", None), host("::1", Some(2)), host("::2", None)])
        );
        for (url, error) in [
            ("redis://", "a host is missing"),
            ("redis://a,", "a host is missing"),
            ("redis://ann:secret", "the port of \"ann\" is not a number from 1 to 65535"),
            ("redis://a:0", "the port of \"a\" is not a number from 1 to 65535"),
            ("redis://[::1]x", "the port of \"::1\" is not a number from 1 to 65535"),
            ("redis:host", "the // behind the scheme is missing"),
            ("nats://u:p@a,nats://u:p@b", "user and password are written once, before the first host"),
        ] {
            assert_eq!(hosts(url), Err(error.to_owned()), "{url}");
        }
    }

    #[test]
    fn parameters_that_are_not_known_are_an_error_that_lists_those_that_are() {
        let allowed = |url: &str| Address::parse(url).and_then(|address| address.allow(&["replicas", "tls_ca"]));
        assert_eq!(allowed("redis://host?replicas=1"), Ok(()));
        assert_eq!(allowed("redis://host?"), Ok(()));
        for (url, error) in [
            ("redis://host?replica=1", "unknown parameter \"replica\": there are replicas, tls_ca"),
            ("redis://host?protocol=resp3&replicas=1", "unknown parameter \"protocol\": there are replicas, tls_ca"),
            ("redis://host?replicas=1&replicas=2", "the parameter \"replicas\" is there twice"),
            ("redis://host?secret", "parameters are written ?name=value&name=value"),
            ("redis://:pa?ss@host", "parameters are written ?name=value&name=value; a ? in a password is written %3F"),
        ] {
            assert_eq!(allowed(url), Err(error.to_owned()), "{url}");
        }
        let error = allowed("redis://host?password=secret").unwrap_err();
        assert!(error.contains("user:password@host") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_certificate_needs_its_key_and_a_parameter_goes_before_a_setting() {
        let tls = |url: &str, settings: &Tls| Address::parse(url).and_then(|address| address.tls(settings));
        let settings = Tls { ca: Some("/set/ca".into()), ..Tls::default() };
        assert_eq!(tls("tls://a", &settings), Ok(settings.clone()));
        let named = Tls { ca: Some("/a b".into()), cert: Some("/c".into()), key: Some("/k".into()) };
        assert_eq!(tls("tls://a?tls_ca=/a%20b&tls_cert=/c&tls_key=/k", &settings), Ok(named));
        for url in ["tls://a?tls_cert=/c", "tls://a?tls_key=/k", "tls://a?tls_ca="] {
            assert!(tls(url, &Tls::default()).is_err(), "{url}");
        }
    }

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        for (url, expected) in [
            ("redis://:secret@host:6379/0", "redis://host:6379/0"),
            ("redis://host?replicas=1", "redis://host?replicas=1"),
            ("redis://host?password=secret", "redis://host?password=***"),
            ("redis://host?password=se@cret", "redis://***"),
            ("redis://:se?cret@host", "redis://***"),
            ("redis://ann:@se?cret@host", "redis://***"),
            ("redis://ann:secret", "redis://ann:***"),
            (
                "redis+sentinel://a,b/chat?sentinel_password=secret&db=1",
                "redis+sentinel://a,b/chat?sentinel_password=***&db=1",
            ),
            ("redis+unix://:secret@/run/redis.sock?db=1", "redis+unix:///run/redis.sock?db=1"),
            ("secret@host", "host"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("redis://[::1]", "redis://[::1]"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    proptest! {
        #[test]
        fn an_encoded_password_is_what_it_was(password in "\\PC{1,20}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(user(&format!("nats://ann:{encoded}@host")), some("ann", &password));
        }

        #[test]
        fn no_part_of_a_password_is_shown(password in "[ -~]{0,9}QQ[ -~]{0,9}QQ") {
            for url in [format!("redis://ann:{password}@host"), format!("redis://:{password}@host/1?replicas=1")] {
                prop_assert!(!shown(&url).contains("QQ"), "{}", shown(&url));
                let error = Address::parse(&url).and_then(|address| address.allow(&["replicas"]));
                prop_assert!(error.as_ref().err().is_none_or(|error| !error.contains("QQ")), "{error:?}");
            }
        }
    }
}
