//! The server name in a TLS ClientHello.

use keymoat_detect::decode::http1::host_name;
use std::borrow::Cow;
use tls_parser::{
    SNIType, TlsExtension, parse_tls_client_hello_extensions, parse_tls_handshake_client_hello,
};

/// Most bytes of a ClientHello that are waited for.
pub const MAX_HELLO: usize = 32 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Not all of it is here yet.
    Part,
    /// Whole, with the name it asks for.
    Whole(Option<String>),
    Malformed(&'static str),
}

/// Reads a ClientHello from the start of what a client sends.
pub fn client_hello(bytes: &[u8]) -> Hello {
    let message = match handshake(bytes) {
        Ok(message) => message,
        Err(hello) => return hello,
    };
    let [kind, a, b, c] = match message.first_chunk::<MESSAGE_HEADER>() {
        Some(header) => *header,
        None => return Hello::Part,
    };
    if kind != CLIENT_HELLO {
        return Hello::Malformed("not a ClientHello");
    }
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    match message.get(MESSAGE_HEADER..MESSAGE_HEADER + length) {
        Some(body) => server_name(body),
        None if length > MAX_HELLO => Hello::Malformed("longer than any ClientHello"),
        None => Hello::Part,
    }
}

/// The handshake bytes of the first records; borrowed when they are all in one.
fn handshake(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Hello> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    while let Some((&[kind, major, _, high, low], behind)) = rest.split_first_chunk::<RECORD_HEADER>() {
        if kind != HANDSHAKE || major != 3 {
            return if message.is_empty() {
                Err(Hello::Malformed("not a handshake record"))
            } else {
                Ok(message)
            };
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let whole = behind.len() >= length;
        let part = behind.get(..length).unwrap_or(behind);
        if message.is_empty() {
            message = Cow::Borrowed(part);
        } else {
            message.to_mut().extend_from_slice(part);
        }
        if !whole || length == 0 {
            break;
        }
        rest = behind.get(length..).unwrap_or_default();
    }
    Ok(message)
}

fn server_name(body: &[u8]) -> Hello {
    let Ok((_, hello)) = parse_tls_handshake_client_hello(body) else {
        return Hello::Malformed("ClientHello does not parse");
    };
    let Some(extensions) = hello.ext else { return Hello::Whole(None) };
    let Ok((_, extensions)) = parse_tls_client_hello_extensions(extensions) else {
        return Hello::Malformed("ClientHello extensions do not parse");
    };
    let names = extensions.iter().filter_map(|extension| match extension {
        TlsExtension::SNI(names) => Some(names),
        _ => None,
    });
    let name = names
        .flatten()
        .filter(|(kind, _)| *kind == SNIType::HostName)
        .find_map(|(_, name)| host_name(std::str::from_utf8(name).ok()?));
    Hello::Whole(name.map(str::to_owned))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ClientHello for `name`, cut into TLS records of at most `fragment` bytes.
    pub fn hello(name: Option<&str>, fragment: usize) -> Vec<u8> {
        let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let mut extensions = vec![0, 23, 0, 0];
        if let Some(name) = name {
            let entry = [&[0][..], &with_length(name.as_bytes())].concat();
            extensions.extend([0, 0]);
            extensions.extend(with_length(&with_length(&entry)));
        }
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &with_length(&[0x13, 1, 0x13, 2]),
            &[1, 0],
            &with_length(&extensions),
        ]
        .concat();
        let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
        message.chunks(fragment).flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat()).collect()
    }

    #[test]
    fn the_name_is_read_however_the_hello_is_cut() {
        for fragment in [16_384, 100, 7, 1] {
            let bytes = hello(Some("API.example.test"), fragment);
            assert_eq!(client_hello(&bytes), Hello::Whole(Some("API.example.test".into())));
            for cut in 0..bytes.len() {
                assert_eq!(client_hello(&bytes[..cut]), Hello::Part, "{cut}");
            }
        }
        assert_eq!(client_hello(&hello(None, 16_384)), Hello::Whole(None));
        assert_eq!(client_hello(&hello(Some("bad name\n"), 16_384)), Hello::Whole(None));
    }

    #[test]
    fn what_is_no_hello_is_malformed() {
        assert!(matches!(client_hello(b"GET / HTTP/1.1\r\n"), Hello::Malformed(_)));
        assert!(matches!(client_hello(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Hello::Malformed(_)));
        assert!(matches!(client_hello(&[22, 3, 1, 0, 4, 1, 255, 255, 255]), Hello::Malformed(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            client_hello(&bytes);
            client_hello(&[&[22, 3, 1, 1, 0, 1, 0, 0, 252][..], &bytes].concat());
        }

        #[test]
        fn a_damaged_hello_does_not_make_it_panic(at in 0usize..200, byte: u8, fragment in 1usize..200) {
            let mut bytes = hello(Some("api.example.test"), fragment);
            let at = at % bytes.len();
            bytes[at] = byte;
            client_hello(&bytes);
        }
    }
}
