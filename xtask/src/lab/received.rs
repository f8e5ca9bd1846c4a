//! Files that come out of the lab over its console: base64, checked by length and by CRC-32, which
//! busybox computes (`crc32`).

/// A file that arrived whole.
pub(crate) struct File {
    /// Relative, without `..`.
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
}

/// A file that is arriving.
pub(crate) struct Receiving {
    name: String,
    size: usize,
    checksum: u32,
    text: Vec<u8>,
}

impl Receiving {
    /// Reads `CRC SIZE NAME`, the first in hexadecimal digits.
    pub(crate) fn announced(words: &str) -> Result<Self, String> {
        let mut parts = words.splitn(3, ' ');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (checksum, size, name) = (next(), next(), next());
        let (Ok(checksum), Ok(size)) = (u32::from_str_radix(&checksum, 16), size.parse()) else {
            return Err(format!("a file was announced unreadably: {words:?}"));
        };
        if !is_plain(&name) {
            return Err(format!("a file has a name that is not taken: {name:?}"));
        }
        Ok(Self { name, size, checksum, text: Vec::new() })
    }

    pub(crate) fn add(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    pub(crate) fn finish(self) -> Result<File, String> {
        let Self { name, size, checksum: expected, text } = self;
        let data = decoded(&text).ok_or_else(|| format!("{name}: not base64"))?;
        if data.len() != size {
            return Err(format!("{name}: {} bytes of {size} arrived", data.len()));
        }
        if checksum(&data) != expected {
            return Err(format!("{name}: its checksum differs"));
        }
        Ok(File { name, data })
    }
}

/// Relative, downwards, and of characters that need no care anywhere.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    name.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain))
}

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits: u32 = 0;
    let mut count = 0;
    for &byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x3fff;
        count += 6;
        if count >= 8 {
            count -= 8;
            data.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(data)
}

/// CRC-32 as in gzip and zip.
fn checksum(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let mut crc = crc ^ u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (carry * 0xedb8_8320);
        }
        crc
    };
    !data.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_busybox_crc32() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn base64_is_decoded_whatever_its_padding() {
        for (text, data) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v\nYmFy", "foobar")] {
            assert_eq!(decoded(text.as_bytes()).unwrap(), data.as_bytes());
        }
        assert!(decoded(b"Z!==").is_none());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["/etc/passwd", "../x", "a/../b", "", "a b", "a//b"] {
            assert!(Receiving::announced(&format!("1 1 {name}")).is_err(), "{name}");
        }
        assert!(Receiving::announced("1 1 a/b-c_1.json").is_ok());
    }
}
