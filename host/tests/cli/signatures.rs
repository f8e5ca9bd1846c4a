//! Signatures of policy files: checked before anything is parsed.

use tce_host::exit::Exit;

use crate::common::{Folder, SMALL, plugin, tce};

/// Two keys of minisign, made for these tests; who has the secret ones does not matter.
const KEY: &str = "RWTNDriZaUVB0B/T/lINhZ+PY8KGlRuPGcJOeO1b+Yck2KYyUZaFD/i9";
const OTHER_KEY: &str = "RWRrt77460a/C/Prh9b7GVfO9UopX0DCwvQB03NU+i+grLnVcZnt4/Ny";

/// What the first of them signed.
const CONTENT: &str = "a policy\n";
const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RUTNDriZaUVB0A7Ads9WPgxxFqlp1RI462sudH0SkzIeY9MCaUShc6nS+tFXlFCIhBC7DEnznvCO4VHr/nhtGwdX6B9wrLyvkgM=
trusted comment: of the tests
G8PQjhrfV3lR5JYUzQv8iiJIqG2rl85UR09j+ui98TDPSn/QLkpLxuOotPVsaUs8NYEBXunjMQNVg+QWNOi6Ag==
";

/// Gives a file to both commands that take keys; both refuse it with the same words.
#[track_caller]
fn refused(content: &str, signature: Option<&str>, keys: &[&str], says: &str, help: &str) {
    let folder = Folder::new();
    let file = folder.file("policy.wasm", content);
    let job = folder.file("job.toml", SMALL);
    if let Some(signature) = signature {
        folder.file("policy.wasm.minisig", signature);
    }
    let keys: Vec<&str> = keys.iter().flat_map(|key| ["--policy-key", *key]).collect();
    let check = [&["policy", "check", &file][..], &keys].concat();
    let run = [&["run", &job, "--policy", &file][..], &keys].concat();
    let check = tce(&check).refused(Exit::PolicyFile, &[says], help);
    let run = tce(&run).refused(Exit::PolicyFile, &[says], help);
    assert_eq!(check.err, run.err);
}

#[test]
fn a_file_that_is_signed_with_a_trusted_key_is_looked_into_and_no_other() {
    // It is no component, and that is told only after the signature was found good.
    refused(CONTENT, Some(SIGNATURE), &[KEY], "no component", "cargo xtask plugins");
    refused(CONTENT, Some(SIGNATURE), &[OTHER_KEY, KEY], "no component", "cargo xtask plugins");
    refused(CONTENT, None, &[KEY], "it is not signed", "minisign -Sm");
    refused(CONTENT, Some(SIGNATURE), &[OTHER_KEY], "none of the trusted keys", "do not use it");
    refused("another\n", Some(SIGNATURE), &[KEY], "is not for this file", "again");
    refused(CONTENT, Some("hello"), &[KEY], "is damaged", "again");
    let changed = SIGNATURE.replace("of the tests", "of somebody");
    refused(CONTENT, Some(&changed), &[KEY], "is not for this file", "again");
}

#[test]
fn a_key_can_stand_in_the_file_that_minisign_makes() {
    let folder = Folder::new();
    let key = folder.file("minisign.pub", format!("untrusted comment: a key\n{KEY}\n"));
    refused(CONTENT, Some(SIGNATURE), &[&key], "no component", "cargo xtask plugins");
}

#[test]
fn a_file_of_policies_lists_keys_unless_the_command_does() {
    let folder = Folder::new();
    let job = folder.file("job.toml", SMALL);
    folder.file("policy.wasm", CONTENT);
    folder.file("policy.wasm.minisig", SIGNATURE);
    folder.file("minisign.pub", format!("untrusted comment: a key\n{KEY}\n"));
    let says = |keys: &str, more: &[&str], says: &str, help: &str| {
        let file = format!("keys = [{keys}]\n[[policy]]\nfile = \"policy.wasm\"\n");
        let policies = folder.file("policies.toml", file);
        let args = [&["run", &job, "--policies", &policies][..], more].concat();
        tce(&args).refused(Exit::PolicyFile, &[says], help);
    };
    let (key, other) = (format!("{KEY:?}"), format!("{OTHER_KEY:?}"));
    says("\"minisign.pub\"", &[], "no component", "cargo xtask plugins");
    says(&format!("{other}, {key}"), &[], "no component", "cargo xtask plugins");
    says(&other, &[], "none of the trusted keys", "do not use it");
    says(&key, &["--policy-key", OTHER_KEY], "none of the trusted keys", "do not use it");
    says(&other, &["--policy-key", KEY], "no component", "cargo xtask plugins");
    let policies = folder.file("policies.toml", "keys = [\"none.pub\"]\n");
    let args = ["run", &job, "--policies", &policies];
    tce(&args).refused(Exit::Usage, &["none.pub is no public key"], "minisign.pub");
}

#[test]
fn what_is_no_key_is_told_so() {
    let args = ["policy", "check", &plugin("tight"), "--policy-key", "hello"];
    tce(&args).refused(Exit::Usage, &["hello is no public key"], "minisign.pub");
}

#[test]
fn without_a_key_no_signature_is_wanted() {
    tce(&["policy", "check", &plugin("tight")]).with(Exit::Done);
}
