//! Answers of HTTP/1.1, as far as the server sends them.

/// A status, header fields and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A whole answer from the front, and its length. A body without a length ends with the
    /// stream.
    pub(crate) fn parse(bytes: &[u8], ended: bool) -> Option<(Answer, usize)> {
        let head_len = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..head_len]).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ").expect("an answer").get(..3)?.parse().unwrap();
        let fields = lines.map(|line| line.split_once(": ").expect("a header field"));
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let mut answer = Answer { status, headers, body: String::new() };
        let (body, body_len) = answer.take_body(&bytes[head_len..], ended)?;
        answer.body = String::from_utf8(body).unwrap();
        Some((answer, head_len + body_len))
    }

    /// A header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn take_body(&self, rest: &[u8], ended: bool) -> Option<(Vec<u8>, usize)> {
        if self.status == 101 {
            return Some((Vec::new(), 0));
        }
        if self.header("transfer-encoding") == Some("chunked") {
            return take_chunks(rest);
        }
        match self.header("content-length") {
            Some(len) => rest.get(..len.parse().unwrap()).map(|body| (body.to_vec(), body.len())),
            None => ended.then(|| (rest.to_vec(), rest.len())),
        }
    }
}

/// RFC 9112 §7.1, without trailers.
fn take_chunks(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (whole, mut body) = (rest.len(), Vec::new());
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        body.extend_from_slice(rest.get(line + 2..line + 2 + len)?);
        rest = rest.get(line + 2 + len + 2..)?;
        if len == 0 {
            return Some((body, whole - rest.len()));
        }
    }
}
