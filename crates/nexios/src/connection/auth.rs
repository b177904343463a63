//! Where clients carry their tokens: a header, a subprotocol, a cookie, the query.
//!
//! Browsers cannot set `Authorization` on a WebSocket, so they offer the subprotocols
//! `bearer, <token>`. The server answers `bearer`: a token never goes back on the wire.

use crate::connection::request::{Headers, offered_subprotocols};
use crate::live;
use nexios_protocol::trim_whitespace_of;

/// The scheme in `Authorization`, and the subprotocol that announces a token.
pub(crate) const BEARER: &str = "bearer";

/// The token of `Authorization: Bearer <token>` (RFC 6750 §2.1), else of the subprotocols.
pub(crate) fn bearer_token(headers: &Headers) -> Option<String> {
    let authorization = headers.get("authorization").and_then(|value| trim_whitespace_of(value).split_once(' '));
    match authorization {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => Some(trim_whitespace_of(token).to_owned()),
        _ => subprotocol_token(&offered_subprotocols(headers)).map(str::to_owned),
    }
}

/// What stands behind `bearer` in the offered subprotocols.
fn subprotocol_token(offered: &[String]) -> Option<&str> {
    let at = offered.iter().position(|name| name.eq_ignore_ascii_case(BEARER))?;
    offered.get(at + 1).map(String::as_str)
}

/// The offered subprotocols without the token.
pub(crate) fn without_token(offered: &[String]) -> impl Iterator<Item = &str> {
    let token_at = offered.iter().position(|name| name.eq_ignore_ascii_case(BEARER)).map(|at| at + 1);
    offered.iter().enumerate().filter(move |(at, _)| Some(*at) != token_at).map(|(_, name)| name.as_str())
}

/// The subprotocol to answer with: the client's first that the route has, else `nexios.v1` where the
/// route is live, else `bearer` where a token came that way.
pub(crate) fn pick_subprotocol(offered: &[String], of_route: &[String], is_live: bool) -> Option<String> {
    let common = without_token(offered).find(|name| of_route.iter().any(|own| own == name));
    let bearer =
        || subprotocol_token(offered).and(without_token(offered).find(|name| name.eq_ignore_ascii_case(BEARER)));
    let live = || without_token(offered).find(|name| is_live && *name == live::SUBPROTOCOL);
    common.or_else(live).or_else(bearer).map(str::to_owned)
}

/// The subprotocol to answer with where the connection is closed at once: a browser does
/// not look at a Close frame if it offered some and got none.
pub(crate) fn pick_for_close(offered: &[String], of_route: &[String], is_live: bool) -> Option<String> {
    pick_subprotocol(offered, of_route, is_live).or_else(|| without_token(offered).next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::request::tests::headers;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_token_comes_from_the_header_or_the_subprotocols() {
        for (line, token) in [
            ("Authorization: Bearer abc", Some("abc")),
            ("authorization: bearer  abc", Some("abc")),
            ("Authorization: Basic abc", None),
            ("Authorization: Bearer", None),
            ("Sec-WebSocket-Protocol: bearer, abc", Some("abc")),
            ("Sec-WebSocket-Protocol: chat, Bearer, abc", Some("abc")),
            ("Sec-WebSocket-Protocol: bearer", None),
            ("Sec-WebSocket-Protocol: abc", None),
        ] {
            assert_eq!(bearer_token(&headers("/", &[line])).as_deref(), token, "{line}");
        }
    }

    #[test]
    fn the_token_is_never_answered() {
        let offered = list(&["bearer", "abc"]);
        assert_eq!(pick_subprotocol(&offered, &[], false).as_deref(), Some("bearer"));
        assert_eq!(pick_subprotocol(&offered, &list(&["abc"]), false).as_deref(), Some("bearer"));
        assert_eq!(pick_for_close(&offered, &[], false).as_deref(), Some("bearer"));
        assert_eq!(pick_for_close(&list(&["bearer"]), &[], false).as_deref(), Some("bearer"));
    }

    #[test]
    fn the_clients_first_choice_that_the_route_has_wins() {
        let offered = list(&["v3", "v2", "v1"]);
        assert_eq!(pick_subprotocol(&offered, &list(&["v1", "v2"]), false).as_deref(), Some("v2"));
        assert_eq!(pick_subprotocol(&offered, &[], false), None);
        assert_eq!(pick_for_close(&offered, &[], false).as_deref(), Some("v3"));
        assert_eq!(pick_for_close(&[], &list(&["v1"]), false), None);
    }

    #[test]
    fn nexios_v1_is_taken_where_the_route_is_live_unless_the_route_has_another_and_never_as_a_token() {
        let offered = list(&["nexios.v1", "chat.v1", "bearer", "abc"]);
        assert_eq!(pick_subprotocol(&offered, &[], true).as_deref(), Some("nexios.v1"));
        assert_eq!(pick_subprotocol(&offered, &[], false).as_deref(), Some("bearer"));
        assert_eq!(pick_subprotocol(&offered, &list(&["chat.v1"]), true).as_deref(), Some("chat.v1"));
        assert_eq!(pick_subprotocol(&list(&["bearer", "nexios.v1"]), &[], true).as_deref(), Some("bearer"));
    }
}
