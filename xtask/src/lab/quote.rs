//! Quoting for the lab's shell, so that a command arrives inside exactly as it was given.

/// One line of shell that runs these words and nothing else.
pub(crate) fn command(words: &[String]) -> String {
    words.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ")
}

/// One word, whatever it holds.
pub(crate) fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn every_word_arrives_as_it_was_given() {
        let words = ["printf", "<%s>", "a b", "it's", "$HOME `id`", "", "two\nlines", "\\", "*"];
        let line = command(&words.map(str::to_owned));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "<a b><it's><$HOME `id`><><two\nlines><\\><*>");
    }
}
