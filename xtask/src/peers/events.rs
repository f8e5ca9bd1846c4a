//! What a recorded trace has to show, read from its lines: not by the crate that wrote them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Pages of 4K, 64K, 2M and 1G, as a POWER9 has them.
const PAGE_SIZES: &str = "0x40211000";
const HUGE_PAGE: &str = "0x200000";

/// What a trace shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) register: usize,
    pub(super) map: usize,
    pub(super) unmap: usize,
    /// Of the unmaps, those that begin at IOVA 0: DPDK passes a MAP's structure, whose memory address, 0, the kernel
    /// takes for the IOVA, and whose IOVA for the size.
    pub(super) unmap_from_zero: usize,
    pub(super) unregister: usize,
    pub(super) create: usize,
    pub(super) remove: usize,
}

/// Counts a trace's events.
pub(super) fn seen(trace: &Path) -> Result<Seen> {
    let text = fs::read_to_string(trace).with_context(|| format!("reading {}", trace.display()))?;
    let mut events = Vec::new();
    // The first line is the header.
    for (number, line) in text.lines().enumerate().skip(1) {
        let event: Value = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", trace.display(), number + 1))?;
        events.push(event);
    }
    let of = |call: &str| events.iter().filter(|event| event["call"] == call).count();
    let from_zero = |event: &&Value| event["call"] == "unmap" && event["iova"] == "0x0";
    let last = events.last().context("the trace is empty")?;
    ensure!(last["call"] == "exit", "the trace does not end with the end of testpmd");
    has_answers(&events)?;
    Ok(Seen {
        register: of("register"),
        map: of("map"),
        unmap: of("unmap"),
        unmap_from_zero: events.iter().filter(from_zero).count(),
        unregister: of("unregister"),
        create: of("create"),
        remove: of("remove"),
    })
}

/// What the kernel writes into structures, and what calls it made descriptors for, has to be in the trace too.
fn has_answers(events: &[Value]) -> Result<()> {
    let first = |call: &str| {
        let found = events.iter().find(|event| event["call"] == call);
        found.with_context(|| format!("the trace has no {call}"))
    };
    let page_sizes = &first("info")?["page_sizes"];
    ensure!(page_sizes == PAGE_SIZES, "info says page sizes {page_sizes}, not {PAGE_SIZES}");
    let register = first("register")?;
    ensure!(register["backing"] == HUGE_PAGE, "the pages of {register} are not {HUGE_PAGE}");
    let device = &first("open-device")?["returned"];
    ensure!(first("device")?["device"] == *device, "no call on the device {device}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_their_call() {
        let file = std::env::temp_dir().join(format!("xtask-peers-{}", std::process::id()));
        let lines = [
            r#"{"format":"tce-trace","version":1}"#,
            r#"{"call":"info","page_sizes":"0x40211000"}"#,
            r#"{"call":"open-device","returned":9}"#,
            r#"{"call":"device","device":9}"#,
            r#"{"call":"register","backing":"0x200000"}"#,
            r#"{"call":"unmap","iova":"0x0"}"#,
            r#"{"call":"unmap","iova":"0x1000"}"#,
            r#"{"call":"exit"}"#,
        ];
        fs::write(&file, lines.join("\n")).unwrap();
        let seen = seen(&file).unwrap();
        fs::write(&file, lines[..lines.len() - 1].join("\n")).unwrap();
        assert!(super::seen(&file).is_err(), "a trace that was cut off");
        fs::write(&file, lines.join("\n").replace("0x40211000", "0x0")).unwrap();
        assert!(super::seen(&file).is_err(), "a structure without the kernel's answer");
        fs::remove_file(&file).unwrap();
        assert_eq!((seen.register, seen.unmap, seen.unmap_from_zero), (1, 2, 1));
    }
}
