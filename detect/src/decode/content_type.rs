//! Header values of the form `value; name=value; name="value"`: Content-Type (RFC 9110, 8.3.1) and Content-Disposition
//! (RFC 6266; in parts of a form RFC 7578, 4.2).

use std::borrow::Cow;

/// What stands before the first parameter, like `text/plain`.
pub fn essence(header: &[u8]) -> &[u8] {
    header.split(|&b| b == b';').next().unwrap_or_default().trim_ascii()
}

/// Does a Content-Type name this type, whatever its parameters? A type that ends with `/` stands for all its
/// subtypes, `application/grpc` also for `application/grpc+proto`.
pub fn is(header: &[u8], mime: &str) -> bool {
    let named = essence(header);
    match named.split_at_checked(mime.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(mime.as_bytes())
                && (rest.is_empty() || mime.ends_with('/') || rest.starts_with(b"+"))
        }
        None => false,
    }
}

/// A parameter's value, without quotes.
pub fn parameter<'a>(header: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let mut rest = header.get(end_of_parameter(header) + 1..)?;
    loop {
        let end = end_of_parameter(rest);
        let (text, more) = rest.split_at_checked(end)?;
        let equals = text.iter().position(|&b| b == b'=').unwrap_or(text.len());
        let (found, value) = text.split_at_checked(equals)?;
        if found.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
            return Some(unquoted(value.get(1..).unwrap_or_default().trim_ascii()));
        }
        rest = more.get(1..)?;
    }
}

/// Where the next `;` stands that is not in quotes.
fn end_of_parameter(text: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |&byte: &u8| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' => return !quoted,
            _ => {}
        }
        false
    };
    text.iter().position(ends).unwrap_or(text.len())
}

/// Browsers escape nothing but quotes, and leave backslashes alone.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").map(|inner| inner.strip_suffix(b"\"").unwrap_or(inner))
    else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escape = byte == b'\\' && matches!(bytes.peek(), Some(b'"' | b'\\'));
        plain.push(if escape { bytes.next().unwrap_or(byte) } else { byte });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        assert!(is(b"Text/Plain; charset=utf-8", "text/plain"));
        assert!(is(b"application/grpc+proto", "application/grpc"));
        assert!(is(b"multipart/form-data; boundary=a", "multipart/"));
        assert!(!is(b"application/grpc-web", "application/grpc"));
        assert!(!is(b"text/plainly", "text/plain"));
        assert!(!is(b"", "text/plain"));
    }

    #[test]
    fn parameters_are_found_by_name() {
        let value = |header: &'static str, name| {
            parameter(header.as_bytes(), name).map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(value("a/b; boundary=abc", "boundary"), some("abc"));
        assert_eq!(value("a/b;x=1 ; Boundary = \"a; b\" ;y", "boundary"), some("a; b"));
        assert_eq!(value(r#"form-data; filename="a\";name=\"b"; name="c\d\\e""#, "name"), some(r"c\d\e"));
        assert_eq!(value("form-data; name=\"open", "name"), some("open"));
        assert_eq!(value("form-data; name", "name"), some(""));
        for without in ["", "boundary=abc", "a/b", "a/b;", "a/b; xboundary=abc", "a/b; x=\"; boundary=abc\""]
        {
            assert_eq!(value(without, "boundary"), None, "{without}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_taken(header in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(b"ab;=\"\\ /".to_vec()), 1 => any::<u8>()], 0..40)) {
            is(&header, "a/b");
            parameter(&header, "a");
        }
    }
}
