//! Text in lines of bounded width.

use std::fmt::Write;

/// How wide lines are.
const WIDTH: usize = 100;
/// Where the text of a line with a label begins.
const INDENT: usize = 10;

/// Appends a text behind a label, its further lines indented.
pub(super) fn labelled(to: &mut String, label: &str, text: &str) {
    let mut line = format!("  {label:<width$}", width = INDENT - 2);
    let mut is_empty = true;
    for word in text.split_ascii_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(to, "{}", line.trim_end());
            line = " ".repeat(INDENT);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(to, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_and_indented() {
        let mut text = String::new();
        labelled(&mut text, "cause", &"word ".repeat(30));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  cause   word word"));
        assert!(lines[1].starts_with("          word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH));
    }
}
