//! Files that are no policy, and policies that do not go together.

use std::{fs, process::Command};

use tce_host::exit::Exit;

use crate::common::{Folder, SMALL, plugin, tce};

/// Gives a file to both commands that take one; both refuse it with the same words.
#[track_caller]
fn refused(file: &str, says: &[&str], help: &str) {
    let folder = Folder::new();
    let job = folder.file("job.toml", SMALL);
    let check = tce(&["policy", "check", file]).refused(Exit::PolicyFile, says, help);
    let run = tce(&["run", &job, "--policy", file]).refused(Exit::PolicyFile, says, help);
    assert_eq!(check.err, run.err);
    assert!(run.err.contains(file), "{}", run.err);
    tce(&["policy", "check", "--json", file]).refused(Exit::PolicyFile, says, help);
}

#[track_caller]
fn refused_bytes(bytes: impl AsRef<[u8]>, says: &[&str], help: &str) {
    let folder = Folder::new();
    refused(&folder.file("policy.wasm", bytes), says, help);
}

#[track_caller]
fn refused_component(text: &str, says: &[&str], help: &str) {
    refused_bytes(wat::parse_str(text).expect("WebAssembly text"), says, help);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    refused("/no/such/policy.wasm", &["No such file"], "target/plugins/tight.wasm");
}

#[test]
fn a_file_that_is_no_component_is_told_what_it_is() {
    let core = wat::parse_str("(module)").expect("WebAssembly text");
    refused_bytes("hello", &["no component", "no WebAssembly at all"], "cargo xtask plugins");
    refused_bytes("(component)", &["no component", "WebAssembly text"], "cargo xtask plugins");
    refused_bytes("", &["no component", "an empty file"], "cargo xtask plugins");
    refused_bytes(core, &["no component", "a core WebAssembly module"], "cargo xtask plugins");
}

#[test]
fn a_component_that_was_cut_short_is_damaged() {
    let mut bytes = fs::read(plugin("tight")).expect("a plugin");
    bytes.truncate(bytes.len() / 2);
    refused_bytes(bytes, &["this component is damaged"], "build it again");
}

#[test]
fn a_component_with_imports_is_told_which() {
    let text = r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#;
    refused_component(text, &["it imports wasi:clocks/wall-clock@0.2.0"], "no other access");
}

#[test]
fn an_unknown_version_of_an_interface_is_named_beside_ours() {
    let text =
        r#"(component (instance $i) (export "tce:policy/lease-policy@9.1.0" (instance $i)))"#;
    let says = ["tce:policy/lease-policy@9.1.0", "this host speaks version 0.2.0"];
    refused_component(text, &says, "wit/");
}

#[test]
fn a_component_without_our_interfaces_is_told_what_they_are() {
    let says = ["implements no interface of tce:policy", "tce:policy/window-sizing@0.2.0"];
    refused_component("(component)", &says, "wit/");
}

#[test]
fn two_policies_for_one_decision_are_one_too_many() {
    let folder = Folder::new();
    let job = folder.file("job.toml", SMALL);
    let args = ["run", &job, "--policy", &plugin("tight"), "--policy", &plugin("hostile")];
    let says = ["tight and hostile both decide page-selection"];
    tce(&args).refused(Exit::Usage, &says, "`tce policy check FILE`");
}

/// With more memory than usual, and less than large; there is something else wrong with it then.
const MIB_19: &str = r#"(component
    (core module $m (memory 300)) (core instance (instantiate $m))
    (instance $i) (export "tce:policy/page-selection@0.2.0" (instance $i)))"#;

#[test]
fn what_a_policy_may_use_is_said_of_all_or_of_each() {
    const USUAL: (&str, &str) = ("more than 16 MiB of memory", "--policy-limits large");
    const LARGE: (&str, &str) = ("its page-selection is not the one", "wit/");
    let folder = Folder::new();
    let job = folder.file("job.toml", SMALL);
    let component = folder.file("policy.wasm", wat::parse_str(MIB_19).expect("WebAssembly text"));
    let journal = folder.file("journal.jsonl", "");
    let says = |args: &[&str], limits: &[&str], (says, help): (&str, &str)| {
        tce(&[args, limits].concat()).refused(Exit::PolicyFile, &[says], help);
    };
    let large = ["--policy-limits", "large"];
    for args in [
        &["policy", "check", &component][..],
        &["policy", "inspect", &component],
        &["policy", "replay", &journal, "--policy", &component],
        &["run", &job, "--policy", &component],
    ] {
        says(args, &[], USUAL);
        says(args, &large, LARGE);
    }
    let policies = |limits: &str| {
        folder.file("policies.toml", format!("[[policy]]\nfile = \"policy.wasm\"\n{limits}"))
    };
    for (limits, more, outcome) in [
        ("", &[][..], USUAL),
        ("", &large, LARGE),
        ("limits = \"large\"", &[], LARGE),
        ("limits = \"usual\"", &large, USUAL),
    ] {
        says(&["run", &job, "--policies", &policies(limits)], more, outcome);
    }
}

#[test]
fn too_little_address_space_for_policies_is_told() {
    let folder = Folder::new();
    let job = folder.file("job.toml", SMALL);
    let tce = |args: &str| {
        let script = format!("ulimit -v 3000000; exec {} {args}", env!("CARGO_BIN_EXE_tce"));
        let output = Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = tce(&format!("policy check {}", plugin("tight")));
    assert_eq!(code, Some(Exit::Machine.code().into()), "{said}");
    assert!(said.contains("Cannot allocate memory") && said.contains("`ulimit -v`"), "{said}");
    // Without a policy nothing of that is needed.
    let (code, said) = tce(&format!("run {job}"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_good_policy_is_told_to_be_one() {
    let file = plugin("tight");
    let text = tce(&["policy", "check", &file]).with(Exit::Done).out;
    for words in ["is a policy", "window-sizing@0.2.0", "nothing", "sha256"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let json = tce(&["policy", "check", "--json", &file]).with(Exit::Done).json();
    assert_eq!(json["name"], "tight");
    assert_eq!(json["interfaces"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["interfaces"][0]["version"], "0.2.0");
    assert_eq!(json["imports"], serde_json::json!([]));
}
