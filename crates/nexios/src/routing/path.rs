//! Paths: whole segments, typed parameters, and the tree in which they are looked up.
//!
//! Static segments beat `{name:int}`, that beats `{name}`, that beats `{name:path}`.
//! Duplicate and trailing slashes do not count.

use std::collections::HashMap;

/// A route's path, taken apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Static(Box<str>),
    Param { name: Box<str>, kind: Kind },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// `{name}`: one segment.
    Text,
    /// `{name:int}`: one segment of digits.
    Int,
    /// `{name:path}`: all the segments that are left, at least one.
    Path,
}

/// Why a path is no path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A brace without its partner, or text around a parameter.
    #[error("segment {0:?}: a parameter is a whole segment, like {{name}}, {{name:int}} or {{name:path}}")]
    Braces(String),
    /// A parameter without a name, or with a name that is no identifier.
    #[error("{0:?} is no name for a parameter")]
    Name(String),
    /// A kind that does not exist.
    #[error("{0:?} is no kind of parameter; there are {{name}}, {{name:int}} and {{name:path}}")]
    Kind(String),
    /// Two parameters of one name.
    #[error("two parameters are called {0:?}")]
    Twice(String),
    /// `{name:path}` takes the rest, so nothing can follow it.
    #[error("nothing can follow {{{0}:path}}")]
    AfterPath(String),
}

impl Pattern {
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        let segments = segments(path).map(parse_segment).collect::<Result<_, _>>()?;
        let pattern = Pattern { segments };
        pattern.check()?;
        Ok(pattern)
    }

    /// This path behind a prefix.
    pub(crate) fn under(&self, prefix: &Pattern) -> Result<Self, PathError> {
        let segments = prefix.segments.iter().chain(&self.segments).cloned().collect();
        let pattern = Pattern { segments };
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<(), PathError> {
        for (i, segment) in self.segments.iter().enumerate() {
            let Segment::Param { name, kind } = segment else { continue };
            if self.params().filter(|other| *other == &**name).count() > 1 {
                return Err(PathError::Twice(name.to_string()));
            }
            if *kind == Kind::Path && i + 1 < self.segments.len() {
                return Err(PathError::AfterPath(name.to_string()));
            }
        }
        Ok(())
    }

    fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param { name, .. } => Some(&**name),
            Segment::Static(_) => None,
        })
    }

    pub(crate) fn has_params(&self) -> bool {
        self.params().next().is_some()
    }

    /// The parameters' values in a path that matches.
    pub(crate) fn captures(&self, path: &str) -> Vec<(Box<str>, String)> {
        let mut rest = decoded_segments(path).unwrap_or_default().into_iter();
        let mut captures = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Static(_) => drop(rest.next()),
                Segment::Param { name, kind: Kind::Path } => {
                    captures.push((name.clone(), rest.by_ref().collect::<Vec<_>>().join("/")));
                }
                Segment::Param { name, .. } => captures.extend(rest.next().map(|value| (name.clone(), value))),
            }
        }
        captures
    }
}

/// The normalised path, as people read it.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Static(text) => write!(f, "/{text}"),
            Segment::Param { name, kind: Kind::Text } => write!(f, "/{{{name}}}"),
            Segment::Param { name, kind: Kind::Int } => write!(f, "/{{{name}:int}}"),
            Segment::Param { name, kind: Kind::Path } => write!(f, "/{{{name}:path}}"),
        })
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn parse_segment(segment: &str) -> Result<Segment, PathError> {
    let Some(inner) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return match segment.contains(['{', '}']) {
            true => Err(PathError::Braces(segment.into())),
            false => Ok(Segment::Static(segment.into())),
        };
    };
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    let identifier = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !identifier {
        return Err(PathError::Name(name.into()));
    }
    let kind = match kind {
        "" => Kind::Text,
        "int" => Kind::Int,
        "path" => Kind::Path,
        other => return Err(PathError::Kind(other.into())),
    };
    Ok(Segment::Param { name: name.into(), kind })
}

/// The segments of a request's path, percent-decoded one by one, so that `%2F` stays in its own.
fn decoded_segments(path: &str) -> Option<Vec<String>> {
    segments(path).map(percent_decode).collect()
}

/// RFC 3986 §2.1; `None` where the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    String::from_utf8(percent_decode_bytes(text)).ok()
}

/// As [`percent_decode`]; what is not UTF-8 becomes U+FFFD, as the URL standard has it for forms.
pub(crate) fn percent_decode_lossy(text: &str) -> String {
    String::from_utf8(percent_decode_bytes(text))
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn percent_decode_bytes(text: &str) -> Vec<u8> {
    if !text.contains('%') {
        return text.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Finds what a path leads to.
#[derive(Debug)]
pub(crate) struct PathTree<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    here: Option<T>,
    statics: HashMap<Box<str>, Node<T>>,
    int: Option<Box<Node<T>>>,
    text: Option<Box<Node<T>>>,
    rest: Option<T>,
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        PathTree { root: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { here: None, statics: HashMap::new(), int: None, text: None, rest: None }
    }
}

impl<T> PathTree<T> {
    /// Adds a path; gives back what was there if the same paths lead to something already.
    pub(crate) fn insert(&mut self, pattern: &Pattern, value: T) -> Result<(), &T> {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Static(text) => node.statics.entry(text.clone()).or_default(),
                Segment::Param { kind: Kind::Int, .. } => node.int.get_or_insert_default(),
                Segment::Param { kind: Kind::Text, .. } => node.text.get_or_insert_default(),
                Segment::Param { kind: Kind::Path, .. } => return put(&mut node.rest, value),
            };
        }
        put(&mut node.here, value)
    }

    /// What a request's path leads to.
    pub(crate) fn find(&self, path: &str) -> Option<&T> {
        self.root.find(&decoded_segments(path)?)
    }
}

fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), &T> {
    if slot.is_some() {
        return slot.as_ref().map_or(Ok(()), Err);
    }
    *slot = Some(value);
    Ok(())
}

impl<T> Node<T> {
    /// Every node has one way to it, so a lookup visits none twice.
    fn find(&self, segments: &[String]) -> Option<&T> {
        let Some((first, others)) = segments.split_first() else { return self.here.as_ref() };
        // One that no integer type holds leads nowhere.
        let is_int = first.bytes().all(|byte| byte.is_ascii_digit()) && first.parse::<u64>().is_ok();
        let by_static = self.statics.get(first.as_str()).and_then(|node| node.find(others));
        by_static
            .or_else(|| self.int.as_ref().filter(|_| is_int)?.find(others))
            .or_else(|| self.text.as_ref()?.find(others))
            .or(self.rest.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&'static str]) -> PathTree<&'static str> {
        let mut tree = PathTree::default();
        for path in paths {
            tree.insert(&Pattern::parse(path).unwrap(), *path).unwrap();
        }
        tree
    }

    #[test]
    fn static_beats_int_beats_text_beats_path() {
        let tree = tree(&["/a/{rest:path}", "/a/{name}", "/a/{id:int}", "/a/me", "/"]);
        for (path, found) in [
            ("/a/me", Some("/a/me")),
            ("/a/42", Some("/a/{id:int}")),
            ("/a/x42", Some("/a/{name}")),
            ("/a/18446744073709551615", Some("/a/{id:int}")),
            ("/a/18446744073709551616", Some("/a/{name}")),
            ("/a/me/too", Some("/a/{rest:path}")),
            ("/a", None),
            ("", Some("/")),
            ("/b", None),
        ] {
            assert_eq!(tree.find(path).copied(), found, "{path}");
        }
    }

    #[test]
    fn a_dead_end_behind_a_static_segment_does_not_hide_a_parameter() {
        let tree = tree(&["/a/b/c", "/a/{x}/d", "/{x}/b/e"]);
        assert_eq!(tree.find("/a/b/d"), Some(&"/a/{x}/d"));
        assert_eq!(tree.find("/a/b/e"), Some(&"/{x}/b/e"));
    }

    #[test]
    fn duplicate_and_trailing_slashes_do_not_count() {
        let tree = tree(&["//chat//{room}/"]);
        for path in ["/chat/x", "/chat/x/", "//chat///x//", "chat/x"] {
            assert!(tree.find(path).is_some(), "{path}");
        }
        assert!(tree.find("/chatter/x").is_none());
    }

    #[test]
    fn parameters_are_decoded_within_their_segment() {
        let pattern = Pattern::parse("/r/{room}/{rest:path}").unwrap();
        let captures = pattern.captures("/r/a%2Fb%20c/d//e%C3%A9/");
        assert_eq!(captures, [("room".into(), "a/b c".into()), ("rest".into(), "d/eé".into())]);
        assert!(tree(&["/{x}"]).find("/%ff").is_none());
    }

    #[test]
    fn two_routes_on_one_path_are_noticed_whatever_their_parameters_are_called() {
        let mut tree = tree(&["/a/{x}"]);
        assert_eq!(tree.insert(&Pattern::parse("/a/{y}/").unwrap(), "other"), Err(&"/a/{x}"));
        assert_eq!(tree.insert(&Pattern::parse("/a/{y:int}").unwrap(), "other"), Ok(()));
    }

    #[test]
    fn what_is_no_path_says_why() {
        for (path, error) in [
            ("/a{b}", PathError::Braces("a{b}".into())),
            ("/{b", PathError::Braces("{b".into())),
            ("/{}", PathError::Name("".into())),
            ("/{1}", PathError::Name("1".into())),
            ("/{a:float}", PathError::Kind("float".into())),
            ("/{a}/{a}", PathError::Twice("a".into())),
            ("/{a:path}/b", PathError::AfterPath("a".into())),
        ] {
            assert_eq!(Pattern::parse(path), Err(error), "{path}");
        }
    }

    #[test]
    fn prefixes_concatenate() {
        let prefix = Pattern::parse("/api/").unwrap();
        let pattern = Pattern::parse("chat/{id:int}").unwrap().under(&prefix).unwrap();
        assert_eq!(pattern.to_string(), "/api/chat/{id:int}");
        assert_eq!(Pattern::default().to_string(), "/");
    }
}
