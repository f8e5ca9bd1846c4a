//! Values as people read them, and what differs between two.

use serde::Serialize;

/// More lines than this on one side are not compared line by line.
const LINES_MAX: usize = 2_000;

/// A value as JSON, a line for each field.
#[must_use]
pub fn shown(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("(not shown: {error})"))
}

/// A value that is one word, without quotes.
#[must_use]
pub fn word(value: &impl Serialize) -> String {
    shown(value).trim_matches('"').to_owned()
}

/// The lines of both values: `-` before those that only the first has, `+` before those that only the second has.
#[must_use]
pub fn between(first: &impl Serialize, second: &impl Serialize) -> String {
    lines_between(&shown(first), &shown(second))
}

fn lines_between(first: &str, second: &str) -> String {
    let (first, second): (Vec<&str>, Vec<&str>) =
        (first.lines().collect(), second.lines().collect());
    if first.len() > LINES_MAX || second.len() > LINES_MAX {
        return format!("{} lines, and {}", first.len(), second.len());
    }
    let common = common_lengths(&first, &second);
    let mut out = String::new();
    let mut put = |mark: char, line: &str| {
        out.push(mark);
        out.push(' ');
        out.push_str(line);
        out.push('\n');
    };
    let (mut i, mut j) = (0, 0);
    while i < first.len() || j < second.len() {
        if i < first.len() && j < second.len() && first[i] == second[j] {
            put(' ', first[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == second.len() || (i < first.len() && common[i + 1][j] >= common[i][j + 1]) {
            put('-', first[i]);
            i += 1;
        } else {
            put('+', second[j]);
            j += 1;
        }
    }
    out.pop();
    out
}

/// For each pair of places the length of the longest common subsequence of what follows.
fn common_lengths(first: &[&str], second: &[&str]) -> Vec<Vec<u32>> {
    let mut common = vec![vec![0; second.len() + 1]; first.len() + 1];
    for i in (0..first.len()).rev() {
        for j in (0..second.len()).rev() {
            common[i][j] = if first[i] == second[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::lines_between;

    #[test]
    fn a_difference_shows_both_sides_between_common_lines() {
        assert_eq!(lines_between("a\nb\nc", "a\nx\nc\nd"), "  a\n- b\n+ x\n  c\n+ d");
        assert_eq!(lines_between("a", "a"), "  a");
        assert_eq!(lines_between("", "a"), "+ a");
    }
}
