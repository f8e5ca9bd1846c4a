//! Demands that the machine, or a lease, cannot meet.

use tce_host::exit::Exit;
use tce_sim::{Profile, SimMachine};

use crate::common::{Folder, SMALL, run_on, tce, with_step};

/// Runs a job that is refused half-way: by the command, and through the library, which leaves nothing behind.
#[track_caller]
fn refused(profile: &str, job: &str, exit: Exit, says: &[&str], help: &str) {
    let folder = Folder::new();
    let file = folder.file("job.toml", job);
    let backend = format!("sim:{profile}");
    let ended = tce(&["run", &file, "--backend", &backend]).refused(exit, says, help);
    let machine = SimMachine::new(Profile::named(profile).expect(profile));
    let stopped = run_on(&machine, job, &[]).refused(exit, says, help);
    assert!(ended.err.contains(&stopped.failure.what), "{} in {}", stopped.failure, ended.err);
}

#[test]
fn a_region_is_whole_pages_of_the_machine() {
    let job = SMALL.replace("1M", "68K");
    let says = ["region memory", "68 KiB", "not a whole number", "64K pages"];
    refused("powernv9-64k", &job, Exit::Job, &says, "a multiple of 64K");
}

#[test]
fn small_pages_do_not_back_large_ones() {
    let job = SMALL.replace("size = ", "page = \"2M\"\nsize = ").replace("1M", "2M");
    let says = ["region memory", "2M pages", "4K"];
    refused("powernv9", &job, Exit::Job, &says, "hugetlb");
}

#[test]
fn a_demand_that_no_window_holds_is_told_how_large_one_can_be() {
    let job = SMALL.replace("1M", "8G") + "[demand]\ndevice-mask-bits = 32";
    let says = ["no window can hold", "8 GiB", "the largest", "2 GiB"];
    refused("powernv9", &job, Exit::Job, &says, "device-mask-bits");
}

#[test]
fn an_address_that_no_window_has_is_told_why() {
    let at = |at: &str| SMALL.replace("size = ", &format!("at = \"{at}\"\nsize = "));
    let says = ["region memory", "0xc0000000", "reserved"];
    refused("powernv9", &at("3G"), Exit::Job, &says, "`at`");
    let says = ["region memory", "address bits"];
    let narrow = at("0x1_0000_0000") + "[demand]\ndevice-mask-bits = 32";
    refused("powernv9", &narrow, Exit::Job, &says, "`at`");
}

#[test]
fn an_unknown_device_is_told_which_ones_there_are() {
    let job = SMALL.replace("0000:01", "0009:01");
    let says = ["there is no PCI device 0009:01:00.0"];
    refused("powernv9", &job, Exit::Machine, &says, "0000:01:00.0");
}

#[test]
fn an_unknown_group_is_told_which_ones_there_are() {
    let job = format!("groups = [99]\n{SMALL}");
    refused("powernv9", &job, Exit::Machine, &["there is no IOMMU group 99"], "groups are ");
}

#[test]
fn too_few_huge_pages_are_told_how_many_it_takes() {
    let job = SMALL.replace("size = \"1M\"", "memory = \"hugetlb\"\npage = \"2M\"\nsize = \"4G\"");
    let says = ["region memory", "4 GiB of 2M huge pages", "ENOMEM"];
    refused("powernv9", &job, Exit::Machine, &says, "2048 huge pages");
}

#[test]
fn a_lease_that_finds_no_room_is_named() {
    let job = SMALL.replace("holder", "at = \"2G\"\nholder");
    let says = ["lease all", "1 MiB at 0x80000000"];
    refused("powernv9", &job, Exit::Job, &says, "`at`");
}

#[test]
fn a_lease_larger_than_its_memory_gets_a_window_of_its_size_and_no_larger() {
    let machine = SimMachine::new(Profile::named("pseries").expect("a known profile"));
    let job = SMALL.replace("0000:01", "0000:00").replace("holder", "size = \"64M\"\nholder");
    let report = run_on(&machine, &job, &[]).0.expect("it runs");
    let windows: Vec<_> = report.windows.iter().map(|it| (it.size, it.origin.as_str())).collect();
    assert_eq!(windows, [(64 << 20, "created")]);
}

#[test]
fn a_lease_larger_than_any_window_is_denied() {
    let job = SMALL.replace("holder", "size = \"1P\"\nholder");
    let says = ["denied: policy built-in refuses windows (window-sizing)"];
    refused("powernv9", &job, Exit::Denied, &says, "[settings]");
}

/// Steps that their lease does not allow, with what is said of each.
#[track_caller]
fn refused_step(job: &str, says: &[&str], help: &str) {
    refused("powernv9", job, Exit::Job, says, help);
}

#[test]
fn a_step_that_leaves_its_lease_is_refused() {
    let job = with_step("do = \"batch\"\nedits = [{ map = \"memory\", at = \"512K\" }]");
    let says = ["step 1 (batch, lease all)", "1 MiB at 0x80000", "leaves"];
    refused_step(&job, &says, "offsets from the lease's start");
    // Inside the window, which is larger, and yet outside the lease.
    let second = "[[lease]]\nname = \"more\"\nholder = \"test\"\nregions = [\"memory\"]\n";
    let job =
        job.replace("[[region]]", &format!("{second}[[region]]")) + "[demand]\ngrowth = \"4M\"";
    refused_step(&job, &["step 1 (batch, lease all)", "leaves lease"], "offsets");
}

#[test]
fn a_step_off_the_pages_of_its_window_is_refused() {
    let job =
        with_step("do = \"batch\"\nedits = [{ map = \"memory\", at = \"100\", size = \"100\" }]");
    let says = ["step 1 (batch, lease all)", "not aligned to the window's 4K pages"];
    refused_step(&job, &says, "whole pages");
}

#[test]
fn a_step_beyond_the_quota_is_refused() {
    let job = with_step("do = \"map-all\"").replace("holder", "tces = 4\nholder");
    let says = ["step 1 (map-all, lease all)", "may have 4 TCEs", "not 256"];
    refused_step(&job, &says, "`tces`");
}

#[test]
fn a_step_with_more_access_than_its_lease_is_refused() {
    let job = with_step("do = \"map-all\"").replace("holder", "access = \"read\"\nholder");
    let says = ["step 1 (map-all, lease all)", "allows read, not read-write"];
    refused_step(&job, &says, "`access`");
}

#[test]
fn a_step_after_the_end_of_its_lease_is_refused() {
    let job = with_step("do = \"revoke\"") + "[[step]]\nlease = \"all\"\ndo = \"map-all\"\n";
    let says = ["step 2 (map-all, lease all)", "ended: it was revoked"];
    refused_step(&job, &says, "before the lease ends");
}
