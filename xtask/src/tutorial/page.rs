//! The page's commands.

use crate::plugins::Language;

/// The command with which a project gets its tools.
pub(super) const TOOLS: &str = "./tools.sh";

/// What stands in the page's blocks of shell commands for a language. Blocks without one are Rust's.
pub(super) fn script(page: &str, language: Language) -> String {
    let start = match language {
        Language::Rust => "```sh",
        Language::C => "```sh c",
        Language::Python => "```sh python",
    };
    let mut script = String::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, line) if line == start => inside = true,
            (true, "```") => inside = false,
            (true, command) => {
                script.push_str(command);
                script.push('\n');
            }
            (false, _) => {}
        }
    }
    script
}

/// The same commands, but nothing gets tools.
pub(super) fn without_tools(script: &str) -> String {
    let lines = script.lines().filter(|line| *line != TOOLS);
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::{script, without_tools};
    use crate::plugins::Language;

    #[test]
    fn commands_are_what_stands_in_blocks_of_shell_for_the_language() {
        let page = "text\n```sh\none\ntwo\n```\nmore\n```rust\nno\n```\n```sh\nthree\n```\n\
                    ```sh c\nfour\n```\n";
        assert_eq!(script(page, Language::Rust), "one\ntwo\nthree\n");
        assert_eq!(script(page, Language::C), "four\n");
        assert_eq!(script(page, Language::Python), "");
    }

    #[test]
    fn only_the_command_that_gets_tools_is_left_out() {
        assert_eq!(
            without_tools("cd project\n./tools.sh\n./build.sh\n"),
            "cd project\n./build.sh\n"
        );
    }
}
