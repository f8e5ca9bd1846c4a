//! The checks, described for people.

use std::fmt::Write as _;

use super::{Topic, checks};

/// All checks by topic, in Markdown: what `docs/conformance.md` has of them.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    let mut checks = checks();
    checks.sort_by_key(|check| check.topic);
    let mut topic: Option<Topic> = None;
    for check in checks {
        if topic != Some(check.topic) {
            topic = Some(check.topic);
            // Writing to a string does not fail.
            let _ = writeln!(text, "### {}\n", check.topic);
        }
        let _ = writeln!(text, "**`{}`**: {}.\n", check.name, check.title);
        let _ = writeln!(text, "- Asserts: {}", check.asserts);
        let _ = writeln!(text, "- Kernel: {}", functions(check.function));
        let _ = writeln!(text, "- Why it matters: {}", check.trap);
        let _ = writeln!(text, "- The engine: {}", check.engine);
        let _ = writeln!(text, "- Machines: {}", check.applies);
        if let Some(leaves) = check.leaves {
            let _ = writeln!(text, "- Leaves: {leaves}");
        }
        text.push('\n');
    }
    text
}

fn functions(names: &str) -> String {
    let quoted: Vec<_> = names.split(", ").map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
