//! Reading the values of settings.

use std::{error::Error, fmt, slice, str::FromStr};

use crate::{
    settings::SettingProblem,
    types::{Duration, Refusal, RefusalReason, Setting},
};

/// The value of the setting with this key; `None` where it is not set.
///
/// `expected` says what the value should be, such as `a page such as 64K`.
///
/// # Errors
/// `parse` does not take the value.
pub fn read<T>(
    settings: &[Setting],
    key: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, SettingProblem> {
    let Some(setting) = settings.iter().find(|each| each.key == key) else { return Ok(None) };
    let value = parse(setting.value.trim());
    let problem = || SettingProblem::new(key, format!("`{}` is not {expected}", setting.value));
    value.map(Some).ok_or_else(problem)
}

/// Reads each setting by itself: all that is wrong with them. For a policy whose settings do not depend on each other.
pub fn problems<T>(
    settings: &[Setting],
    read: impl Fn(&[Setting]) -> Result<T, SettingProblem>,
) -> Vec<SettingProblem> {
    settings.iter().filter_map(|each| read(slice::from_ref(each)).err()).collect()
}

/// A question under settings that cannot be is refused.
impl From<SettingProblem> for Refusal {
    fn from(problem: SettingProblem) -> Self {
        let SettingProblem { key, detail } = problem;
        Self::new(RefusalReason::Settings, format!("the setting {key}: {detail}"))
    }
}

/// A span of time as people write it: `500ms`, `90s`, `15m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A text that is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASpan;

impl fmt::Display for NotASpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no span of time: write 500ms, 90s, 15m, 24h or 7d")
    }
}

impl Error for NotASpan {}

/// The units, the longest first.
const UNITS: [(&str, Duration); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let text = text.trim();
        let split = text.find(|each: char| !each.is_ascii_digit()).ok_or(NotASpan)?;
        let (digits, unit) = text.split_at(split);
        let count: Duration = digits.parse().map_err(|_| NotASpan)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotASpan)?;
        count.checked_mul(*millis).map(Span).ok_or(NotASpan)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, millis)| self.0.is_multiple_of(*millis) && self.0 > 0);
        let (name, millis) = whole.copied().unwrap_or(("ms", 1));
        write!(f, "{}{name}", self.0 / millis)
    }
}

#[cfg(test)]
mod tests {
    use super::{NotASpan, Span, problems, read};
    use crate::types::{Refusal, RefusalReason, Setting};

    #[test]
    fn spans_are_read_and_shown_in_the_longest_unit_that_leaves_no_fraction() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("120 s", 0, ""),
            ("120s", 120_000, "2m"),
            ("24h", 86_400_000, "1d"),
            ("0s", 0, "0ms"),
        ] {
            match text.parse::<Span>() {
                Ok(span) => assert_eq!((span.0, span.to_string().as_str()), (millis, shown)),
                Err(NotASpan) => assert_eq!(text, "120 s"),
            }
        }
        for text in ["", "s", "5", "-1s", "1.5h", "5w", "300000000000d"] {
            assert_eq!(text.parse::<Span>(), Err(NotASpan), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_not_taken_is_a_problem_and_a_refusal() {
        let settings = [Setting { key: "share".to_owned(), value: " 40 ".to_owned() }];
        let percentage = |key| read(&settings, key, "a digit", |text| text.parse::<u8>().ok());
        assert_eq!(percentage("share").expect("a number"), Some(40));
        assert_eq!(percentage("other").expect("not set"), None);
        let problem = read(&settings, "share", "a digit", |text| text.parse::<char>().ok());
        let refusal = Refusal::from(problem.expect_err("two digits"));
        assert_eq!(refusal.reason, RefusalReason::Settings);
        assert_eq!(refusal.detail, "the setting share: ` 40 ` is not a digit");
        let twice = [settings[0].clone(), settings[0].clone()];
        let letter = |settings: &[Setting]| {
            read(settings, "share", "a letter", |text| text.parse::<char>().ok())
        };
        assert_eq!(problems(&twice, letter).len(), 2);
    }
}
