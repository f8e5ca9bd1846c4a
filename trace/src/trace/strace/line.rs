//! One line of strace: whose it is, when, and what it says.

use crate::event::Answer;

/// A line.
pub(super) struct Line<'a> {
    /// The thread; 0 where none is named, as without `-f`.
    pub(super) thread: u32,
    /// The time, if it was asked for; its start is anywhere.
    pub(super) time_us: Option<u64>,
    pub(super) said: Said<'a>,
}

/// What a line says.
pub(super) enum Said<'a> {
    /// A whole call.
    Call(&'a str),
    /// A call's beginning.
    Begun(&'a str),
    /// The rest of it.
    Resumed(&'a str),
    /// The thread ended.
    Ended,
}

/// A call that has ended.
pub(super) struct Done<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
    pub(super) answer: Answer,
    pub(super) duration_us: Option<u64>,
}

const UNFINISHED: &str = "<unfinished ...>";

impl<'a> Line<'a> {
    /// `None` for what strace says of itself and of signals.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (thread, rest) = thread(text)?;
        let (time_us, rest) = time(rest);
        let said = if rest.starts_with("+++ exited") || rest.starts_with("+++ killed") {
            Said::Ended
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            Said::Resumed(resumed.split_once(" resumed>")?.1)
        } else if let Some(begun) = rest.strip_suffix(UNFINISHED) {
            Said::Begun(begun.trim_end())
        } else if rest.starts_with("---") || rest.starts_with("+++") {
            return None;
        } else {
            Said::Call(rest)
        };
        Some(Self { thread, time_us, said })
    }
}

/// The thread's number: `[pid 41] …` on a terminal, `41 …` in a file.
fn thread(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix("[pid") {
        let (number, rest) = rest.split_once(']')?;
        return Some((number.trim().parse().ok()?, rest.trim_start()));
    }
    if text.starts_with("strace:") {
        return None;
    }
    match text.split_once(' ') {
        Some((number, rest)) if is_digits(number) => {
            Some((number.parse().ok()?, rest.trim_start()))
        }
        _ => Some((0, text)),
    }
}

/// The time in front of a call: `10:16:13.949477`, `1700000000.949477`, or nothing.
fn time(text: &str) -> (Option<u64>, &str) {
    let Some((word, rest)) = text.split_once(' ') else { return (None, text) };
    match parse_time(word) {
        Some(time) => (Some(time), rest.trim_start()),
        None => (None, text),
    }
}

fn parse_time(word: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    for part in whole.split(':') {
        if !is_digits(part) {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let fraction = match fraction {
        "" => 0,
        digits if is_digits(digits) && digits.len() <= 6 => format!("{digits:0<6}").parse().ok()?,
        _ => return None,
    };
    seconds.checked_mul(1_000_000)?.checked_add(fraction)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

impl<'a> Done<'a> {
    /// `name(arguments) = result`, with `<0.000012>` behind it where times were asked for.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (call, result) = text.rsplit_once(" = ")?;
        let (name, arguments) = call.trim_end().split_once('(')?;
        let arguments = arguments.strip_suffix(')')?;
        let mut words = result.split_ascii_whitespace();
        let value = words.next()?;
        // With -y a returned descriptor has its file behind it.
        let value = value.split_once('<').map_or(value, |(number, _)| number);
        let answer = match (number(value), words.next()) {
            (Some(returned), _) => Answer::Returned(i64::try_from(returned).ok()?),
            (None, Some(name)) if value == "-1" => Answer::Failed(super::errno(name)),
            _ => return None,
        };
        let duration = result.rsplit_once('<').and_then(|(_, it)| it.strip_suffix('>'));
        Some(Self { name, arguments, answer, duration_us: duration.and_then(parse_time) })
    }

    /// One of its arguments. None of those that matter has a comma inside but `_IOC(…)`.
    pub(super) fn argument(&self, index: usize) -> Option<&'a str> {
        let mut depth = 0_u32;
        let split = self.arguments.split(move |it: char| {
            match it {
                '(' | '{' | '[' => depth += 1,
                ')' | '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            it == ',' && depth == 0
        });
        split.map(str::trim).nth(index)
    }
}

/// A number as strace prints it: decimal, hexadecimal or `NULL`.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text == "NULL" => Some(0),
        None => text.parse().ok(),
    }
}

/// Whether a line is a call of strace's.
pub(in crate::trace) fn is_call(text: &str) -> bool {
    Line::parse(text).is_some_and(|line| match line.said {
        Said::Call(call) => {
            let name = call.split('(').next().unwrap_or_default();
            call.contains('(') && call.contains(" = ") && is_name(name)
        }
        Said::Begun(call) => call.split_once('(').is_some_and(|(name, _)| is_name(name)),
        Said::Resumed(_) | Said::Ended => false,
    })
}

/// Whether it is what strace says besides.
pub(in crate::trace) fn is_remark(text: &str) -> bool {
    let is_ended = matches!(Line::parse(text), Some(Line { said: Said::Ended, .. }));
    is_ended || text.trim_start().starts_with("strace:") || text.contains("--- SIG")
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
}
