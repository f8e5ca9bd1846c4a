//! What an author does with a policy: ask it, test it, look at it, measure it, make one.

use std::fs;

use tce_host::exit::Exit;

use crate::common::{Folder, plugin, tce};

const PAGES: &str = r#"
[select-pages]
facts = "powernv9-64k"
[[select-pages.demand.regions]]
size = "1M"
"#;

fn with(folder: &Folder, name: &str, more: &str) -> String {
    folder.file(name, format!("{PAGES}{more}\n"))
}

#[test]
fn one_question_gets_its_answer_its_fuel_and_whether_it_would_be_accepted() {
    let (folder, tight) = (Folder::new(), plugin("tight"));
    let question = with(&folder, "question.toml", "");
    let text = tce(&["policy", "run", &tight, &question]).with(Exit::Done).out;
    for words in ["tight was asked: select-pages", "\"page\": 16", "accepted:  yes", "fuel: "] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let json = tce(&["policy", "run", "--json", &tight, &question]).with(Exit::Done).json();
    assert_eq!(json["format"], "tce-policy-run/1");
    assert_eq!(json["result"]["answer"]["pages"][0]["page"], 16);
    assert_eq!(json["rejected"], serde_json::Value::Null);
}

#[test]
fn a_no_a_broken_policy_and_a_bad_answer_end_with_codes_of_their_own() {
    let folder = Folder::new();
    let run = |policy: &str, more: &str| {
        tce(&["policy", "run", &plugin(policy), &with(&folder, "question.toml", more)])
    };
    let no = run("tight", "[select-pages.settings]\npage-max = \"1K\"").with(Exit::Denied);
    assert!(no.out.contains("refused:   the setting page-max"), "{}", no.out);
    let trap = run("hostile", "[select-pages.settings]\nbehaviour = \"trap\"");
    assert!(trap.with(Exit::PolicyCrashed).out.contains("it broke:  it trapped"));
    let endless = run("hostile", "[select-pages.settings]\nbehaviour = \"loop\"");
    assert!(endless.with(Exit::PolicyOutOfFuel).out.contains("it broke:  it burned"));
    let lie = run("hostile", "[select-pages.settings]\nbehaviour = \"unknown-page\"");
    assert!(lie.with(Exit::PolicyBadAnswer).out.contains("accepted:  no, "));
}

#[test]
fn a_question_that_is_not_understood_is_told_where() {
    let (folder, tight) = (Folder::new(), plugin("tight"));
    let question = with(&folder, "question.toml", "sice = 1");
    tce(&["policy", "run", &tight, &question]).refused(
        Exit::Scenario,
        &["question.toml", "line 6", "sice"],
        "docs/policy-authors.md",
    );
}

#[test]
fn a_folder_of_scenarios_is_tried_and_each_failure_is_told_in_text_in_tap_and_in_junit() {
    let (folder, tight) = (Folder::new(), plugin("tight"));
    with(&folder, "a.toml", "[expect]\npage = \"64K\"");
    let all = ["policy", "test", &tight, &folder.path("")];
    assert!(tce(&all).with(Exit::Done).out.ends_with("1 of 1 scenarios passed\n"));
    with(&folder, "b.toml", "[expect]\nanswer = { pages = [{ page = \"4K\", regions = [0] }] }");
    with(&folder, "c.toml", "[expect]\nno-such-key = 1");
    let fuel = format!("fuel-max = 1\n{PAGES}");
    folder.file("d.toml", fuel);
    let text = tce(&all).with(Exit::ScenariosFailed).out;
    for words in
        ["-       \"page\": 12", "+       \"page\": 16", "no-such-key", "and 1 is the most"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(text.ends_with("1 of 4 scenarios passed\n"), "{text}");
    let junit = folder.path("junit.xml");
    let more = ["policy", "test", &tight, &folder.path(""), "--tap", "--junit", &junit];
    let tap = tce(&more).with(Exit::ScenariosFailed).out;
    assert!(tap.starts_with("TAP version 13\n1..4\nok 1 - a\nnot ok 2 - b\n"), "{tap}");
    let xml = fs::read_to_string(junit).expect("JUnit's XML");
    assert!(xml.contains("tests=\"4\" failures=\"3\""), "{xml}");
}

#[test]
fn an_empty_folder_is_no_success() {
    let (folder, tight) = (Folder::new(), plugin("tight"));
    let all = ["policy", "test", &tight, &folder.path("")];
    tce(&all).refused(Exit::Scenario, &["no .toml and no .json"], "docs/policy-authors.md");
}

#[test]
fn random_questions_find_a_policy_that_lies_and_save_the_smallest() {
    let folder = Folder::new();
    let save = folder.path("found.json");
    let fuzz = |policy: &str, more: &[&str]| {
        let policy = plugin(policy);
        let args = ["policy", "fuzz", &policy, "--seed", "3", "--runs", "300", "--save", &save];
        tce(&[&args[..], more].concat())
    };
    let good = fuzz("tight", &[]).with(Exit::Done).out;
    assert!(good.contains("300 questions"), "{good}");
    assert_eq!(good, fuzz("tight", &[]).out, "the same seed, the same questions");
    let bad = fuzz("hostile", &["--set", "behaviour=unknown-page", "--kind", "ordinary"]);
    let bad = bad.with(Exit::ScenariosFailed).out;
    assert!(bad.contains("would not be accepted"), "{bad}");
    let again = tce(&["policy", "run", &plugin("hostile"), &save]).with(Exit::PolicyBadAnswer);
    assert!(again.out.contains("accepted:  no"), "{}", again.out);
    let found = fs::read_to_string(&save).expect("the question");
    assert_eq!(found.matches("\"backing\"").count(), 1, "one region is enough: {found}");
}

#[test]
fn a_policy_tells_what_is_in_it_and_what_it_costs() {
    let (folder, tight) = (Folder::new(), plugin("tight"));
    let json = tce(&["policy", "inspect", "--json", &tight]).with(Exit::Done).json();
    assert_eq!(json["interfaces"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["settings"][0]["key"], "page-max");
    assert!(json["code-bytes"].as_u64() > Some(10_000), "{json}");
    let text = tce(&["policy", "inspect", &tight]).with(Exit::Done).out;
    assert!(text.contains("page-max = "), "{text}");
    let question = with(&folder, "question.toml", "");
    let bench = tce(&["policy", "bench", &tight, &question, "-n", "20"]).with(Exit::Done).out;
    assert!(bench.contains("built-in median ns") && bench.contains("20 decisions"), "{bench}");
}

#[test]
fn what_is_no_core_module_becomes_no_component() {
    let folder = Folder::new();
    let out = folder.path("out.wasm");
    let make = |module: &str| tce(&["policy", "component", module, "-o", &out]);
    make(&plugin("tight")).refused(Exit::PolicyFile, &["a component already"], "as it is");
    let text = folder.file("text.wasm", "hello");
    make(&text).refused(Exit::PolicyFile, &["no component can be made"], "cdylib");
    make("/no/such.wasm").refused(Exit::PolicyFile, &["cannot be read"], "core module");
    assert!(!fs::exists(&out).expect("a folder"));
}

#[test]
fn a_project_s_name_must_be_one() {
    tce(&["policy", "new", "My/Policy"]).refused(Exit::Usage, &["no name"], "my-policy");
}
