//! Takes the firmware's messages out of the console: skiboot writes lines such as
//! `[   12.345678901,3] PHB#0000: …` at any moment, even into the middle of another line.

/// A filter over a stream of bytes; carriage returns go too.
#[derive(Default)]
pub(crate) struct Filter {
    /// The start of what may turn out to be a message.
    held: Vec<u8>,
    dropping: bool,
}

enum Verdict {
    Message,
    NotYet,
    Other,
}

impl Filter {
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes.iter().filter(|byte| **byte != b'\r') {
            if self.dropping {
                self.dropping = byte != b'\n';
                continue;
            }
            if byte == b'[' {
                passed.append(&mut self.held);
            } else if self.held.is_empty() {
                passed.push(byte);
                continue;
            }
            self.held.push(byte);
            match verdict(&self.held) {
                Verdict::NotYet => {}
                Verdict::Other => passed.append(&mut self.held),
                Verdict::Message => {
                    self.held.clear();
                    self.dropping = true;
                }
            }
        }
        passed
    }
}

/// Compares with `[`, the seconds, `.`, nine digits, `,`, the level and `]`.
fn verdict(bytes: &[u8]) -> Verdict {
    const FRACTION: usize = 9;
    let mut rest = bytes.iter().copied().skip(1).skip_while(|byte| *byte == b' ').peekable();
    while rest.next_if(u8::is_ascii_digit).is_some() {}
    let tail: Vec<u8> = rest.collect();
    let fits = |at: usize, byte: u8| match at {
        0 => byte == b'.',
        at if at <= FRACTION => byte.is_ascii_digit(),
        at if at == FRACTION + 1 => byte == b',',
        at if at == FRACTION + 2 => byte.is_ascii_digit(),
        _ => byte == b']',
    };
    if !tail.iter().enumerate().all(|(at, byte)| fits(at, *byte)) {
        Verdict::Other
    } else if tail.len() == FRACTION + 4 {
        Verdict::Message
    } else {
        Verdict::NotYet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(text: &str, chunk: usize) -> String {
        let mut filter = Filter::default();
        let bytes: Vec<u8> =
            text.as_bytes().chunks(chunk).flat_map(|bytes| filter.feed(bytes)).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_of_the_firmware_vanish_wherever_they_stand() {
        let text =
            "one[    4.299555213,5] OPAL: Shutdown\r\n line\r\n[12.000000001,3] PHB: x\nend\n";
        for chunk in 1..20 {
            assert_eq!(filtered(text, chunk), "one line\nend\n");
        }
    }

    #[test]
    fn other_brackets_stay() {
        let text = "[    0.302930] nvram: x\n[1, 2.5]\n[[x]] [ 1.23,4] [    1.123456789,x\n";
        for chunk in 1..20 {
            assert_eq!(filtered(text, chunk), text);
        }
    }
}
