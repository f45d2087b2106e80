//! Where a request ends, read strictly.
//!
//! Requests are smuggled through proxies by bytes that two readers split differently. So nothing passes that could be
//! read in two ways: what the RFCs let a lenient reader repair is refused here (`400`, and the connection is closed)
//! instead of repaired. The checks work on the raw bytes, before any parser has made its own sense of them.

use std::fmt;

/// The longest head of a request, in bytes: request line, header fields and the empty line.
pub const HEAD_MAX: usize = 32 * 1024;
/// The most header fields of a request.
pub const FIELDS_MAX: usize = 100;
/// The longest line that announces a chunk, in bytes.
const CHUNK_LINE_MAX: usize = 256;
/// The longest trailer section, in bytes.
const TRAILERS_MAX: usize = 8 * 1024;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the message of each says what it is")]
pub enum Violation {
    HeadTooLarge,
    TooManyFields,
    BareLineFeed,
    BareCarriageReturn,
    ControlCharacter,
    FoldedLine,
    RequestLine,
    Method,
    Target,
    Version,
    FieldName,
    NoHost,
    ManyHosts,
    InvalidHost,
    OtherHost,
    ContentLength,
    ManyContentLengths,
    TransferEncoding,
    ManyTransferEncodings,
    LengthTwice,
    ChunkedInOld,
    UpgradeWithBody,
    Chunk,
}

impl Violation {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Violation::HeadTooLarge | Violation::TooManyFields => 431,
            Violation::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::HeadTooLarge => "the head of the request is longer than 32 KiB",
            Violation::TooManyFields => "the request has more than 100 header fields",
            Violation::BareLineFeed => "a line ends with LF alone; lines end with CR LF",
            Violation::BareCarriageReturn => "there is a CR that is not followed by LF",
            Violation::ControlCharacter => "there is a control character in the head",
            Violation::FoldedLine => "a header line begins with white space; folded lines are obsolete",
            Violation::RequestLine => "the request line is not METHOD SP TARGET SP VERSION",
            Violation::Method => "the method has characters that no method has",
            Violation::Target => "the target of the request has characters that no target has",
            Violation::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
            Violation::FieldName => "a header field has no name, or there is white space or another separator in it",
            Violation::NoHost => "there is no Host header field",
            Violation::ManyHosts => "there is more than one Host header field",
            Violation::InvalidHost => "the Host header field is not a host with an optional port",
            Violation::OtherHost => "the target names another host than the Host header field",
            Violation::ContentLength => "Content-Length is not one decimal number",
            Violation::ManyContentLengths => "there is more than one Content-Length header field",
            Violation::TransferEncoding => "Transfer-Encoding is not exactly \"chunked\"",
            Violation::ManyTransferEncodings => "there is more than one Transfer-Encoding header field",
            Violation::LengthTwice => "there are both Content-Length and Transfer-Encoding",
            Violation::ChunkedInOld => "there is Transfer-Encoding in an HTTP/1.0 request",
            Violation::UpgradeWithBody => "the request asks for an upgrade and has a body",
            Violation::Chunk => "a chunk of the body is malformed",
        })
    }
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes; 0 without a body.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A head that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its length in bytes, the empty line included.
    pub length: usize,
    /// What follows it.
    pub body: Body,
    /// It asks to leave HTTP. What follows is another protocol's, once the server agrees; until then it is nobody's.
    pub upgrade: bool,
}

/// Looks for the end of a head in bytes of which the first `seen` were looked at before. Answers its length. Refuses as
/// soon as it sees what no head has.
pub fn find_head_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, Violation> {
    for i in seen.saturating_sub(3)..bytes.len() {
        match bytes[i] {
            b'\n' if i == 0 || bytes[i - 1] != b'\r' => return Err(Violation::BareLineFeed),
            b'\n' if i >= 3 && bytes[i - 2] == b'\n' => {
                return if i < HEAD_MAX { Ok(Some(i + 1)) } else { Err(Violation::HeadTooLarge) };
            }
            b'\n' if i == 1 => return Err(Violation::RequestLine),
            b'\n' | b'\t' => {}
            b'\r' if bytes.get(i + 1).is_some_and(|next| *next != b'\n') => return Err(Violation::BareCarriageReturn),
            b'\r' => {}
            byte if byte < b' ' || byte == 0x7f => return Err(Violation::ControlCharacter),
            _ => {}
        }
    }
    if bytes.len() >= HEAD_MAX { Err(Violation::HeadTooLarge) } else { Ok(None) }
}

/// Is it a character of a token: of methods and field names?
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// Checks a whole head, as long as [`find_head_end`] found it.
pub fn check_head(head: &[u8]) -> Result<Head, Violation> {
    let mut lines = head.strip_suffix(b"\r\n\r\n").unwrap_or(head).split(|byte| *byte == b'\n');
    let line = |line: &'_ [u8]| -> usize { line.strip_suffix(b"\r").unwrap_or(line).len() };
    let request = lines.next().unwrap_or_default();
    let (old, target) = check_request_line(&request[..line(request)])?;

    let (mut host, mut length, mut encoding) = (None, None, None);
    let (mut upgrade, mut connection_upgrade) = (false, false);
    for (count, raw) in lines.enumerate() {
        let field = &raw[..line(raw)];
        if count >= FIELDS_MAX {
            return Err(Violation::TooManyFields);
        }
        if field.first().is_some_and(|c| matches!(c, b' ' | b'\t')) {
            return Err(Violation::FoldedLine);
        }
        let colon = field.iter().position(|c| *c == b':').ok_or(Violation::FieldName)?;
        let (name, value) = (&field[..colon], &field[colon + 1..]);
        if name.is_empty() || !name.iter().all(|c| is_token(*c)) {
            return Err(Violation::FieldName);
        }
        let first = |slot: &mut Option<&'_ [u8]>, many| if slot.is_some() { Err(many) } else { Ok(()) };
        if name.eq_ignore_ascii_case(b"host") {
            first(&mut host, Violation::ManyHosts)?;
            host = Some(trim(value));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            first(&mut length, Violation::ManyContentLengths)?;
            length = Some(trim(value));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            first(&mut encoding, Violation::ManyTransferEncodings)?;
            // Only blanks are white space that surrounds a value for every reader: `chunked` and a tab is somebody's
            // trap.
            let value = value.strip_prefix(b" ").unwrap_or(value);
            encoding = Some(value);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            connection_upgrade |= value.split(|c| *c == b',').any(|word| trim(word).eq_ignore_ascii_case(b"upgrade"));
        }
    }

    check_host(host, target, old)?;
    let body = match (length, encoding) {
        (Some(_), Some(_)) => return Err(Violation::LengthTwice),
        (_, Some(_)) if old => return Err(Violation::ChunkedInOld),
        (_, Some(value)) if value.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        (_, Some(_)) => return Err(Violation::TransferEncoding),
        (Some(value), None) => Body::Length(decimal(value).ok_or(Violation::ContentLength)?),
        (None, None) => Body::Length(0),
    };
    let upgrade = upgrade && connection_upgrade && !old;
    if upgrade && body != Body::Length(0) {
        return Err(Violation::UpgradeWithBody);
    }
    Ok(Head { length: head.len(), body, upgrade })
}

/// Digits only, at most 18 of them.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Answers whether the version is 1.0, and the target.
fn check_request_line(line: &[u8]) -> Result<(bool, &[u8]), Violation> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Violation::RequestLine);
    };
    if method.is_empty() || !method.iter().all(|c| is_token(*c)) {
        return Err(Violation::Method);
    }
    if target.is_empty() || !target.iter().all(|c| (0x21..0x7f).contains(c)) || target.contains(&b'#') {
        return Err(Violation::Target);
    }
    match version {
        b"HTTP/1.1" => Ok((false, target)),
        b"HTTP/1.0" => Ok((true, target)),
        _ => Err(Violation::Version),
    }
}

fn check_host(host: Option<&[u8]>, target: &[u8], old: bool) -> Result<(), Violation> {
    match host {
        None if old => {}
        None => return Err(Violation::NoHost),
        Some(host) if is_host(host) => {}
        Some(_) => return Err(Violation::InvalidHost),
    }
    if matches!(target, [b'/', ..] | b"*") {
        return Ok(());
    }
    let lower = target.to_ascii_lowercase();
    let rest = lower.strip_prefix(b"http://").or_else(|| lower.strip_prefix(b"https://")).ok_or(Violation::Target)?;
    let authority = rest.split(|c| matches!(c, b'/' | b'?')).next().unwrap_or_default();
    match host {
        _ if !is_host(authority) => Err(Violation::Target),
        Some(host) if !host.eq_ignore_ascii_case(authority) => Err(Violation::OtherHost),
        _ => Ok(()),
    }
}

/// A name or address, with a port or without.
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|c| *c == b':') {
        Some(colon) if !host[colon..].contains(&b']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, &host[..0]),
    };
    let name_good = match name {
        [b'[', inner @ .., b']'] => inner.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')),
        _ => name.iter().all(|c| c.is_ascii_alphanumeric() || b"-._~".contains(c)),
    };
    !name.is_empty() && name_good && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// Follows a chunked body to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size: what they make, how many there were.
    Size {
        size: u64,
        digits: u8,
    },
    /// In the chunk's extensions, which say nothing to us; how long the line is.
    Extension {
        size: u64,
        length: usize,
    },
    /// Behind the CR of the line that announces a chunk.
    SizeEnd {
        size: u64,
    },
    /// In a chunk's data.
    Data {
        left: u64,
    },
    /// Behind a chunk's data.
    DataCr,
    DataLf,
    /// At the beginning of a line of the trailers, or in it; how long the section is.
    TrailerStart {
        length: usize,
    },
    Trailer {
        length: usize,
    },
    TrailerLf {
        length: usize,
    },
    /// Behind the CR of the empty line.
    LastLf,
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Self(State::Size { size: 0, digits: 0 })
    }
}

impl Chunks {
    /// Was the end seen?
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Follows more bytes of the body. Answers how many of them belong to it: fewer than all only when it is done.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if let State::Data { left } = self.0 {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += taken;
                let left = left - taken as u64;
                self.0 = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.0 = self.0.next(bytes[at]).ok_or(Violation::Chunk)?;
                at += 1;
            }
        }
        Ok(at)
    }
}

impl State {
    /// The state behind one more byte; `None` where it may not stand.
    fn next(self, byte: u8) -> Option<State> {
        let text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        Some(match (self, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16)?;
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return None,
            (State::Size { size, .. }, b';') => State::Extension { size, length: 0 },
            (State::Size { size, .. } | State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Extension { size, length }, _) if text && length < CHUNK_LINE_MAX => {
                State::Extension { size, length: length + 1 }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::TrailerStart { length: 0 },
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart { .. }, b'\r') => State::LastLf,
            (State::TrailerStart { length }, _) if is_token(byte) => State::Trailer { length: length + 1 },
            (State::Trailer { length }, b'\r') => State::TrailerLf { length },
            (State::Trailer { length }, _) if text && length < TRAILERS_MAX => State::Trailer { length: length + 1 },
            (State::TrailerLf { length }, b'\n') => State::TrailerStart { length },
            (State::LastLf, b'\n') => State::Done,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<Head, Violation> {
        check_bytes(text.as_bytes())
    }

    fn check_bytes(bytes: &[u8]) -> Result<Head, Violation> {
        match find_head_end(bytes, 0)? {
            Some(end) => check_head(&bytes[..end]),
            None => panic!("not a whole head: {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn good_requests_pass() {
        let plain = Body::Length(0);
        for (text, body, upgrade) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", plain, false),
            ("GET /a%20b?c=d&e=[1] HTTP/1.1\r\nHost: a.example:8080\r\nX: \"a\tb\"\r\nEmpty:\r\n\r\n", plain, false),
            ("GET / HTTP/1.0\r\n\r\n", plain, false),
            ("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", plain, false),
            ("GET http://A.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", plain, false),
            ("POST / HTTP/1.1\r\nhost:a\r\ncontent-length:5\r\n\r\n", Body::Length(5), false),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Body::Chunked, false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", plain, true),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", plain, false),
        ] {
            let length = text.len();
            assert_eq!(check(text), Ok(Head { length, body, upgrade }), "{text:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        use Violation::*;
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        for (text, violation) in [
            (with("Content-Length: 5\r\nTransfer-Encoding: chunked"), LengthTwice),
            (with("Transfer-Encoding: chunked\r\nContent-Length: 5"), LengthTwice),
            (with("Transfer-Encoding: chunked\t"), TransferEncoding),
            (with("Transfer-Encoding:\tchunked"), TransferEncoding),
            (with("Transfer-Encoding: chunked "), TransferEncoding),
            (with("Transfer-Encoding: xchunked"), TransferEncoding),
            (with("Transfer-Encoding: \"chunked\""), TransferEncoding),
            (with("Transfer-Encoding: chunked, identity"), TransferEncoding),
            (with("Transfer-Encoding: gzip, chunked"), TransferEncoding),
            (with("Transfer-Encoding:"), TransferEncoding),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), ManyTransferEncodings),
            (with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"), ManyTransferEncodings),
            (with("Transfer-Encoding : chunked"), FieldName),
            (with("Transfer\u{b}Encoding: chunked"), ControlCharacter),
            (with("Content-Length: 5\r\nContent-Length: 6"), ManyContentLengths),
            (with("Content-Length: 5\r\nContent-Length: 5"), ManyContentLengths),
            (with("Content-Length: 5, 5"), ContentLength),
            (with("Content-Length: +5"), ContentLength),
            (with("Content-Length: -1"), ContentLength),
            (with("Content-Length: 0x5"), ContentLength),
            (with("Content-Length: 5 5"), ContentLength),
            (with("Content-Length:"), ContentLength),
            (with("Content-Length: 99999999999999999999"), ContentLength),
            (with("X: a\r\n Content-Length: 5"), FoldedLine),
            (with("X: a\r\n\tb"), FoldedLine),
            (with("X: a\nContent-Length: 5"), BareLineFeed),
            (with("X: a\rContent-Length: 5"), BareCarriageReturn),
            (with("X: a\0b"), ControlCharacter),
            (with(": empty"), FieldName),
            (with("no colon"), FieldName),
            (with("Host: b"), ManyHosts),
            (with("Host: a"), ManyHosts),
            (with("Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 1"), UpgradeWithBody),
            ("GET / HTTP/1.1\r\nX: y\r\n\r\n".into(), NoHost),
            ("GET / HTTP/1.1\r\n\r\n".into(), NoHost),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), InvalidHost),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), InvalidHost),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), InvalidHost),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), InvalidHost),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), OtherHost),
            ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), OtherHost),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".into(), Target),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
            ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".into(), Target),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), RequestLine),
            ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n".into(), RequestLine),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(), RequestLine),
            ("GET /\r\n\r\n".into(), RequestLine),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), RequestLine),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Method),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), Version),
            ("PRI * HTTP/2.0\r\n\r\n".into(), Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n".into(), Version),
            ("GET / HTTP/1.1\nHost: a\n\n".into(), BareLineFeed),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), ChunkedInOld),
        ] {
            assert_eq!(check(&text), Err(violation), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX));
        assert_eq!(check(&many), Err(TooManyFields));
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(HEAD_MAX));
        assert_eq!(check(&long), Err(HeadTooLarge));
        assert_eq!(find_head_end(&vec![b'x'; HEAD_MAX], 0), Err(HeadTooLarge), "before its end is seen");
    }

    #[test]
    fn chunked_bodies_end_where_everybody_thinks_they_end() {
        for good in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;name=\"value\"\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n",
            "1\r\n\n\r\n0\r\nExpires: never\r\nX: y\r\n\r\n",
        ] {
            let mut chunks = Chunks::default();
            let with_more = format!("{good}GET / HTTP/1.1\r\n");
            assert_eq!(chunks.advance(with_more.as_bytes()), Ok(good.len()), "{good:?}");
            assert!(chunks.is_done());
        }
        for bad in [
            "\r\n",
            "x\r\n",
            "+5\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5\r\nhelloo\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "1000000000000000\r\n",
            "5;\nx\r\nhello",
            "5\rhello",
            "0\r\n Folded: x\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            "-1\r\n",
            "5_0\r\n",
        ] {
            assert_eq!(Chunks::default().advance(bad.as_bytes()), Err(Violation::Chunk), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_how_bytes_are_cut_changes_nothing(
            bytes in proptest::collection::vec(
                prop_oneof![proptest::sample::select(b"\r\n05: a".to_vec()), any::<u8>()],
                0..80,
            ),
            cut in 0_usize..80,
        ) {
            let cut = cut.min(bytes.len());
            let whole = find_head_end(&bytes, 0);
            let pieces = match find_head_end(&bytes[..cut], 0) {
                Ok(None) => find_head_end(&bytes, cut),
                early => early,
            };
            // A CR at the cut may already be known to stand alone in the whole, and a length limit is none of this.
            prop_assert_eq!(whole, pieces);
            let _ = check_head(&bytes);

            let (mut once, mut twice) = (Chunks::default(), Chunks::default());
            let whole = once.advance(&bytes);
            let pieces = match twice.advance(&bytes[..cut]) {
                Ok(taken) if taken < cut => Ok(taken),
                Ok(taken) => twice.advance(&bytes[cut..]).map(|more| taken + more),
                refused => refused,
            };
            prop_assert_eq!(whole, pieces);
        }
    }
}
