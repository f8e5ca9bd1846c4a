//! Converts a trace of any notation to a compressed one of ours: `convert IN OUT PLATFORM KERNEL PAGE COMMAND…`.
//!
//! Times are rounded to milliseconds and left out where they stand still; durations are left out: the recorded
//! machines were emulated, so they tell nothing, and what is left compresses well.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use tce_engine::kernel::Platform;
use tce_trace::{
    event::Event,
    format::{Header, Writer},
    trace::Trace,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, platform, kernel, page, command @ ..] = arguments.as_slice() else {
        return Err("convert IN OUT PLATFORM KERNEL PAGE COMMAND…".into());
    };
    let header = Header {
        kernel: Some(kernel.clone()),
        machine: Some("ppc64le".to_owned()),
        platform: Some(match platform.as_str() {
            "powernv" => Platform::Powernv,
            "pseries" => Platform::Pseries,
            other => return Err(format!("{other} is no platform").into()),
        }),
        page_size: Some(page.parse()?),
        ..Header::new(command.to_vec())
    };
    let packed = GzEncoder::new(BufWriter::new(File::create(to)?), Compression::best());
    let mut writer = Writer::new(packed, &header)?;
    for event in Trace::open(Path::new(from))?.events()? {
        let (_, event) = event?;
        let time_us = event.time_us / 1_000_000 * 1_000_000;
        writer.write(&Event { time_us, duration_us: None, ..event })?;
    }
    writer.into_inner().finish()?.flush()?;
    Ok(())
}
