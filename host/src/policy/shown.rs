//! What a component says, as people may see it: its names and its texts go to terminals and into logs, and are bounded
//! and without a way to command them.

/// The most names that a message lists.
const NAMES_MAX: usize = 16;

/// The most characters of a name, or of what a parser says about a component, that a message has.
const CHARS_MAX: usize = 500;

/// Names for a message: the first of them, and how many more there are.
pub(super) fn names(names: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = names.iter().take(NAMES_MAX).map(|each| ascii(each)).collect();
    if let more @ 1.. = names.len().saturating_sub(NAMES_MAX) {
        shown.push(format!("and {more} more"));
    }
    shown
}

/// A text of which people should see what it is made of: a letter that looks like another is shown by its number.
pub(super) fn ascii(text: &str) -> String {
    let mut shown = String::new();
    for (index, each) in text.chars().enumerate() {
        if index == CHARS_MAX {
            shown.push_str("...");
            break;
        }
        if each.is_ascii() && !each.is_ascii_control() {
            shown.push(each);
        } else {
            shown.extend(each.escape_unicode());
        }
    }
    shown
}

/// A sentence for a person, in any language. What would move a cursor, change a colour, begin a line or turn the
/// direction of writing is replaced. No more than `bytes_max` bytes are kept.
pub(super) fn sentence(text: &mut String, bytes_max: usize) {
    // First, so that the work does not grow with what is not kept.
    text.truncate(text.floor_char_boundary(bytes_max));
    if text.contains(commands) {
        *text = text.replace(commands, "\u{fffd}");
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}

fn commands(each: char) -> bool {
    each.is_control()
        || matches!(each, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::{CHARS_MAX, NAMES_MAX, ascii, names, sentence};

    #[test]
    fn a_lookalike_is_shown_by_its_number() {
        assert_eq!(ascii("tce:policy/log@0.2.0"), "tce:policy/log@0.2.0");
        assert_eq!(ascii("p\u{43e}licy\u{1b}[2J"), r"p\u{43e}licy\u{1b}[2J");
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let many = vec!["x".repeat(CHARS_MAX + 1); NAMES_MAX + 3];
        let shown = names(&many);
        assert_eq!(shown.len(), NAMES_MAX + 1);
        assert_eq!(shown[0], format!("{}...", "x".repeat(CHARS_MAX)));
        assert_eq!(shown[NAMES_MAX], "and 3 more");
        assert_eq!(names(&many[..NAMES_MAX]).len(), NAMES_MAX);
    }

    #[test]
    fn a_sentence_keeps_its_language_and_loses_its_commands() {
        let said = |text: &str, max| {
            let mut text = text.to_owned();
            sentence(&mut text, max);
            text
        };
        assert_eq!(said("zu gro\u{df}, \u{592a}\u{5927}", 100), "zu gro\u{df}, \u{592a}\u{5927}");
        assert_eq!(said("a\nb\u{1b}[2J\u{202e}c", 100), "a\u{fffd}b\u{fffd}[2J\u{fffd}c");
        assert_eq!(said("\n\n\n", 7), "\u{fffd}\u{fffd}");
        assert_eq!(said("\u{20ac}\u{20ac}", 5), "\u{20ac}");
    }
}
