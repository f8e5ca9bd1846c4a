//! What came of a suite, for people and for what reads tests: text, TAP, JUnit.

use std::fmt::Write as _;

use super::suite::{Case, Suite};

/// For people: a line for each scenario, what failed below it, and a sum.
#[must_use]
pub fn text(suite: &Suite) -> String {
    let mut out = String::new();
    for case in &suite.cases {
        let fuel = case.fuel.map_or_else(String::new, |fuel| format!("  ({fuel} fuel)"));
        let mark = if case.passed() { "ok    " } else { "FAILED" };
        line(&mut out, &format!("{mark} {}{fuel}", case.name));
        if !case.passed() {
            line(&mut out, &format!("       {}", case.file));
        }
        for problem in &case.problems {
            problem.0.lines().for_each(|it| line(&mut out, &format!("       {it}")));
        }
    }
    let (all, failed) = (suite.cases.len(), suite.failed());
    let passed = all - failed;
    line(&mut out, &format!("{passed} of {all} scenarios passed"));
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// TAP, version 13: one test point for each scenario, what failed as a YAML block.
#[must_use]
pub fn tap(suite: &Suite) -> String {
    let mut out = String::new();
    line(&mut out, "TAP version 13");
    line(&mut out, &format!("1..{}", suite.cases.len()));
    for (case, number) in suite.cases.iter().zip(1u32..) {
        let mark = if case.passed() { "ok" } else { "not ok" };
        line(&mut out, &format!("{mark} {number} - {}", tap_name(&case.name)));
        if case.passed() {
            continue;
        }
        line(&mut out, "  ---");
        line(&mut out, &format!("  file: {}", quoted(&case.file)));
        line(&mut out, "  message: |");
        for problem in &case.problems {
            problem.0.lines().for_each(|it| line(&mut out, &format!("    {it}")));
        }
        line(&mut out, "  ...");
    }
    out
}

/// A name in which nothing is a directive and no line ends.
fn tap_name(name: &str) -> String {
    name.replace('\\', "\\\\").replace('#', "\\#").replace(['\n', '\r'], " ")
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// JUnit's XML: one test suite, one test case for each scenario. Times are not told: fuel is what costs.
#[must_use]
pub fn junit(suite: &Suite) -> String {
    let (all, failed, name) = (suite.cases.len(), suite.failed(), xml(&suite.name));
    let mut out = String::new();
    line(&mut out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    line(&mut out, &format!("<testsuites tests=\"{all}\" failures=\"{failed}\">"));
    line(&mut out, &format!("  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\">"));
    suite.cases.iter().for_each(|case| junit_case(&mut out, &name, case));
    line(&mut out, "  </testsuite>");
    line(&mut out, "</testsuites>");
    out
}

fn junit_case(out: &mut String, class: &str, case: &Case) {
    let (name, file) = (xml(&case.name), xml(&case.file));
    let start = format!("    <testcase name=\"{name}\" classname=\"{class}\" file=\"{file}\"");
    if case.passed() {
        return line(out, &format!("{start}/>"));
    }
    line(out, &format!("{start}>"));
    let whole: Vec<&str> = case.problems.iter().map(|problem| problem.0.as_str()).collect();
    let whole = whole.join("\n");
    let first = xml(whole.lines().next().unwrap_or_default());
    line(out, &format!("      <failure message=\"{first}\">{}</failure>", xml(&whole)));
    line(out, "    </testcase>");
}

/// A text within XML. Characters that XML 1.0 has no way to say become a question mark.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for each in text.chars() {
        match each {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\r' | '\t' => out.push(each),
            '\u{fffe}' | '\u{ffff}' => out.push('?'),
            control if control < ' ' => out.push('?'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{junit, tap, text};
    use crate::author::{
        scenario::Problem,
        suite::{Case, Suite},
    };

    fn suite() -> Suite {
        let case = |name: &str, problems: &[&str]| Case {
            name: name.to_owned(),
            file: format!("scenarios/{name}.toml"),
            fuel: Some(7),
            problems: problems.iter().map(|it| Problem((*it).to_owned())).collect(),
        };
        let cases = vec![case("good", &[]), case("bad # <1>", &["pages\nof \"64 KiB\" & \u{1}"])];
        Suite { name: "scenarios".to_owned(), cases }
    }

    #[test]
    fn people_read_names_problems_and_a_sum() {
        let text = text(&suite());
        assert!(text.starts_with("ok     good  (7 fuel)\nFAILED bad # <1>  (7 fuel)\n"), "{text}");
        assert!(text.ends_with("1 of 2 scenarios passed\n"), "{text}");
    }

    #[test]
    fn tap_counts_and_escapes() {
        let tap = tap(&suite());
        assert!(tap.starts_with("TAP version 13\n1..2\nok 1 - good\n"), "{tap}");
        assert!(tap.contains("not ok 2 - bad \\# <1>\n  ---\n"), "{tap}");
        assert!(tap.contains("    of \"64 KiB\""), "{tap}");
    }

    #[test]
    fn junit_is_well_formed_whatever_a_name_or_a_problem_says() {
        let xml = junit(&suite());
        assert!(xml.contains("<testsuites tests=\"2\" failures=\"1\">"), "{xml}");
        assert!(xml.contains("name=\"bad # &lt;1&gt;\""), "{xml}");
        assert!(xml.contains(">pages\nof &quot;64 KiB&quot; &amp; ?</failure>"), "{xml}");
    }
}
