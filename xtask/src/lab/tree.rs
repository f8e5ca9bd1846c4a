//! The device tree of the powernv machines, with what QEMU leaves out: without the page size encodings
//! of a POWER9 or POWER10 the kernel offers no hugepages ("Disabling HugeTLB").

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::boot::Emulator;
use super::fdt::with_processor_property;

/// Each cell: the page shift below, the processor's encoding of it in the upper three bits.
const ENCODINGS: &str = "ibm,processor-radix-AP-encodings";
const PAGES_4K_64K_2M_1G: [u32; 4] = [0xc, 0xa000_0010, 0x2000_0015, 0x4000_001e];

const DUMP_LIMIT: Duration = Duration::from_secs(30);

/// Asks the emulator for the tree of the machine it would boot, and writes the completed one into
/// `folder`. The boot arguments and the place of the initrd are in there too, so `qemu` has to be
/// exactly what is booted later.
pub(crate) fn completed(mut qemu: Command, folder: &Path) -> Result<PathBuf> {
    let dumped = folder.join("dumped.dtb");
    // The monitor takes a path without spaces only, so a relative one.
    qemu.current_dir(folder).args(["-serial", "null", "-monitor", "stdio", "-S"]);
    qemu.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut emulator = Emulator(qemu.spawn()?);
    let mut monitor = emulator.0.stdin.take().context("the emulator has no monitor")?;
    monitor.write_all(b"dumpdtb dumped.dtb\nquit\n")?;
    let started = Instant::now();
    while emulator.0.try_wait()?.is_none() {
        if started.elapsed() > DUMP_LIMIT {
            bail!("the emulator did not give its device tree in {} s", DUMP_LIMIT.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
    let tree = fs::read(&dumped).context("the emulator gave no device tree")?;
    let tree = with_processor_property(&tree, ENCODINGS, &PAGES_4K_64K_2M_1G)?;
    let file = folder.join("machine.dtb");
    fs::write(&file, tree)?;
    Ok(file)
}
