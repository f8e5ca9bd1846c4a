//! What a run came to: an exit code, and words for the user where something went wrong.

use std::path::Path;
use std::time::Duration;

use super::boot::{Booted, End};
use crate::say;

/// The exit code when the command was not done in time.
const TIME_LIMIT: u8 = 124;
/// The exit code when the lab itself failed: no boot, a panic, a damaged file.
const LAB_FAILED: u8 = 125;
/// The exit code when the command succeeded but the kernel complained meanwhile.
const KERNEL_COMPLAINED: u8 = 97;

/// Says what went wrong, if anything, and which exit code that is.
pub(super) fn verdict(booted: &Booted, log: &Path, limit: Duration, tolerated: &[&str]) -> u8 {
    let report = &booted.report;
    let complained = !is_tolerated(&report.kernel, tolerated);
    let trouble = |what: &str| {
        say::note(format!("{what}; the end of the console:\n{}", booted.tail));
        say::note(format!("the whole console: {}", log.display()));
    };
    if complained {
        say::note("the kernel complained since the command was started:");
        for line in &report.kernel {
            eprintln!("    {line}");
        }
    }
    for problem in &report.damaged {
        say::note(format!("a file did not come out of the lab: {problem}"));
    }
    match (&booted.end, report.exit) {
        (End::TimeLimit, _) => {
            trouble(&format!("not done after {} s", limit.as_secs()));
            TIME_LIMIT
        }
        (End::Off, None) => {
            trouble(if report.started {
                "the machine stopped before the command ended"
            } else {
                "the machine stopped before the command was started"
            });
            LAB_FAILED
        }
        (End::Off, Some(0)) if complained => KERNEL_COMPLAINED,
        (End::Off, Some(0)) if !report.done || !report.damaged.is_empty() => {
            trouble("the lab did not tell everything");
            LAB_FAILED
        }
        (End::Off, Some(code)) => code,
    }
}

/// What begins a complaint of the kernel; further lines say more about it.
const COMPLAINTS: [&str; 9] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "KUAP",
    "stall",
    "starv",
    "soft lockup",
    "blocked for more",
    "panic",
];

/// Whether there is no complaint, or none but warnings in functions that are tolerated.
fn is_tolerated(kernel: &[String], tolerated: &[&str]) -> bool {
    let mut begins =
        kernel.iter().filter(|line| COMPLAINTS.iter().any(|word| line.contains(word))).peekable();
    if begins.peek().is_none() {
        return kernel.is_empty();
    }
    begins.all(|line| {
        line.contains("WARNING:") && tolerated.iter().any(|function| line.contains(function))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_of_the_named_function_are_tolerated() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let leak = "[6.2] WARNING: CPU: 0 PID: 1 at mmu_context.c:276 destroy_context+0xe0\n[6.2] Call Trace:";
        let oops = "[6.3] BUG: Kernel NULL pointer dereference in destroy_context";
        let known = &["tce_iommu_release", "destroy_context"];
        assert!(is_tolerated(&[], &[]) && is_tolerated(&[], known));
        assert!(is_tolerated(&lines(leak), known));
        let through_rcu = format!("{leak}\n[6.2] [c000] synchronize_rcu_normal+0xe4");
        assert!(is_tolerated(&lines(&through_rcu), known));
        assert!(!is_tolerated(&lines("[7] rcu: INFO: rcu_sched detected stalls"), known));
        assert!(!is_tolerated(&lines(leak), &[]));
        assert!(!is_tolerated(&lines(leak), &["vfio"]));
        assert!(!is_tolerated(&lines(&format!("{leak}\n{oops}")), known));
        assert!(!is_tolerated(&lines("[1] something else"), known));
    }
}
