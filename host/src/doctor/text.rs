//! The diagnosis as text, to be read at a glance.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Check, Diagnosis, Mark};

const GOOD: Style = AnsiColor::Green.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const COMMAND: Style = AnsiColor::Cyan.on_default();

/// Findings and remedies are broken to this width. Commands are not, so that they can be copied.
const WIDTH: usize = 96;
/// The width of the marks, with the space behind them.
const MARK_WIDTH: usize = 9;

/// The diagnosis as text, with ANSI styles; strip them where they are not wanted.
#[must_use]
pub fn render(diagnosis: &Diagnosis) -> String {
    let names = diagnosis.checks.iter().map(|check| check.name.len());
    let name_width = names.max().unwrap_or(0) + 2;
    let mut text = String::new();
    for check in &diagnosis.checks {
        text.push_str(&render_check(check, name_width));
    }
    let style = if diagnosis.able { GOOD } else { BAD };
    let _ = writeln!(text, "\n{style}{}{style:#}", diagnosis.verdict);
    text
}

fn render_check(check: &Check, name_width: usize) -> String {
    let mut text = String::new();
    let style = style(check.mark);
    let indent = MARK_WIDTH + name_width;
    let mut lines = wrapped(&check.finding, WIDTH - indent).into_iter();
    let _ = writeln!(
        text,
        "{style}{:MARK_WIDTH$}{style:#}{:name_width$}{}",
        check.mark.word(),
        check.name,
        lines.next().unwrap_or_default()
    );
    for line in lines {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
    for detail in &check.details {
        push_item(&mut text, "- ", detail, indent);
    }
    if let Some(remedy) = &check.remedy {
        push_item(&mut text, "-> ", &remedy.what, indent);
        for command in &remedy.commands {
            let _ = writeln!(text, "{:indent$}   {COMMAND}{command}{COMMAND:#}", "");
        }
    }
    text
}

const fn style(mark: Mark) -> Style {
    match mark {
        Mark::Ok => GOOD,
        Mark::Warning => DOUBTFUL,
        Mark::Missing => BAD,
    }
}

/// Appends a text behind a bullet.
fn push_item(text: &mut String, bullet: &str, item: &str, indent: usize) {
    let hang = bullet.len();
    for (index, line) in wrapped(item, WIDTH - indent - hang).iter().enumerate() {
        let start = if index == 0 { bullet } else { "" };
        let _ = writeln!(text, "{:indent$}{start:hang$}{line}", "");
    }
}

/// Breaks a text between words. A word that is longer than a line has one for itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("one line there always is");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
