//! Jobs that are none, and command lines that are wrong.

use tce_host::{exit::Exit, job::JOB_BYTES_MAX};

use crate::common::{Folder, SMALL, tce, with_step};

/// Runs a job that is refused before anything is made for it.
#[track_caller]
fn refused(job: impl AsRef<[u8]>, says: &[&str], help: &str) {
    let folder = Folder::new();
    let file = folder.file("job.toml", job);
    tce(&["run", &file]).refused(Exit::Job, says, help);
}

#[test]
fn a_job_that_cannot_be_read_is_named_with_the_reason() {
    let folder = Folder::new();
    for (file, why) in
        [(folder.path("none.toml"), "No such file"), (folder.path(""), "Is a directory")]
    {
        tce(&["run", &file]).refused(Exit::Job, &[&file, why], "examples/");
    }
    refused(b"\xff\xfe", &["cannot be read", "UTF-8"], "examples/");
}

#[test]
fn a_job_that_is_too_long_is_not_read() {
    let comment = vec![b'#'; usize::try_from(JOB_BYTES_MAX).unwrap() + 1];
    refused(comment, &["longer than 4194304 bytes"], "docs/job.md");
}

#[test]
fn an_ill_typed_job_is_shown_where_it_is_wrong() {
    for (job, says) in [
        (format!("{SMALL}sizze = 3"), ["line 12, column 1", "unknown field `sizze`"]),
        ("name = 3".to_owned(), ["line 1, column 8", "expected a string"]),
        (SMALL.replace("1M", "1Q"), ["line 11, column 8", "`1Q` is no size"]),
        (SMALL.replace("size = ", "page = \"5K\"\nsize = "), ["line 11", "no page size"]),
        (SMALL.replace("name = \"small\"", ""), ["TOML parse error", "missing field `name`"]),
        ("name = \"small".to_owned(), ["line 1", "invalid basic string"]),
        (with_step("do = \"dance\""), ["unknown variant `dance`", "line 1"]),
    ] {
        refused(job, &says, "docs/job.md");
    }
}

#[test]
fn a_job_that_makes_no_sense_is_told_where() {
    let edits = |edits: &str| with_step(&format!("do = \"batch\"\nedits = [{edits}]"));
    let other = "[[region]]\nname = \"other\"\nsize = \"1M\"\n";
    for (job, says) in [
        ("name = \"empty\"".to_owned(), ["the job", "names no device"]),
        (SMALL.replace("\"1M\"", "0"), ["region memory", "not a whole number of 4K pages"]),
        (SMALL.replace("1M", "1000"), ["region memory", "1000 B is not a whole number"]),
        (SMALL.replace("size", "at = \"1000\"\nsize"), ["region memory", "not on a page border"]),
        (SMALL.replace("[\"memory\"]", "[]"), ["lease all", "for no region"]),
        (SMALL.replace("[\"memory\"]", "[\"disk\"]"), ["lease all", "there is no region disk"]),
        (format!("{SMALL}{SMALL}").replacen("name = \"small\"", "", 2), ["TOML", "missing"]),
        (
            with_step("do = \"map-all\"").replace("\"all\"\ndo", "\"x\"\ndo"),
            ["step 1", "no lease x"],
        ),
        (edits("{ map = \"memory\", unmap = 0 }"), ["step 1", "either `map` or `unmap`"]),
        (edits("{ unmap = 0 }"), ["step 1", "needs a `size`"]),
        (edits("{ map = \"memory\", offset = \"2M\" }"), ["step 1", "behind region memory"]),
        (edits("{ map = \"other\" }") + other, ["step 1", "lease all is not for region other"]),
    ] {
        refused(job, &says, "docs/job.md");
    }
}

#[test]
fn a_backend_that_there_is_not_is_told_which_ones_there_are() {
    let folder = Folder::new();
    let file = folder.file("job.toml", SMALL);
    for backend in ["qemu", "sim:powernv7", "sim:", ""] {
        let says = [format!("there is no backend {backend:?}")];
        let ended = tce(&["run", &file, "--backend", backend]);
        ended.refused(Exit::Usage, &[&says[0]], "powernv9-64k");
    }
    refused_backend_of_the_job(&folder);
}

#[track_caller]
fn refused_backend_of_the_job(folder: &Folder) {
    let file = folder.file("job.toml", format!("backend = \"qemu\"\n{SMALL}"));
    tce(&["run", &file]).refused(Exit::Usage, &["there is no backend"], "vfio");
    tce(&["run", &file, "--backend", "sim"]).with(Exit::Done);
}

#[test]
fn a_wrong_command_line_is_answered_by_the_usage() {
    for args in [&["run"][..], &["dance"], &["run", "a", "b"], &[]] {
        let ended = tce(args).with(Exit::Usage);
        assert!(ended.err.contains("Usage: tce"), "{ended:?}");
    }
}
