//! The lines of a preloaded ioctl logger: `0.2405 REGISTER flags=0 vaddr=3ffb93a00000 size=200000 ret=0 us=1529.2
//! VmLck=2080kB`.
//!
//! There are no descriptors and no opens in it: it is read as one process with one container and one group, which are
//! opened before the first line and gone after the last one. Container and device share call numbers; the logger names
//! those as the container's.

use std::collections::VecDeque;

use tce_engine::{
    addr::{Bytes, HostAddr, Iova, PageShift},
    errno::Errno,
    kernel::Fd,
};

use crate::{
    event::{Answer, Call, DeviceOperation, DeviceOperationName as Name, Event},
    format::{EVENTS_MAX, Lines, Place, ReadError},
};

/// The one process of these traces.
const PROCESS: u32 = 1;
/// Descriptors that the program is not likely to have; the logger does not tell them.
const CONTAINER: Fd = Fd::new(1000);
const GROUP: Fd = Fd::new(1001);
/// The size of `struct vfio_iommu_spapr_tce_info`, and its least.
const INFO_SIZES: [u64; 2] = [32, 16];

/// Whether a line looks like one of these: a time, a name in capitals (or `nr70(…`), a result.
pub(super) fn is_line(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let is_time = words.next().is_some_and(|word| parse_seconds(word).is_some());
    let is_name = words.next().is_some_and(|word| {
        word.starts_with("nr") || word.bytes().all(|it| it.is_ascii_uppercase() || it == b'_')
    });
    is_time && is_name && line.contains(" ret=")
}

/// The events of such lines.
pub(super) struct Logger {
    lines: Lines,
    /// Events that follow from no line of their own.
    waiting: VecDeque<(Place, Event)>,
    state: State,
    last: (Place, u64),
    events: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Reading,
    Over,
}

impl Logger {
    pub(super) fn new(lines: Lines) -> Self {
        let (waiting, last) = (VecDeque::new(), (Place(1), 0));
        Self { lines, waiting, state: State::Before, last, events: 0 }
    }

    fn read(&mut self) -> Result<Option<(Place, Event)>, ReadError> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(Some(event));
        }
        loop {
            let Some((place, line)) = self.lines.next()? else { return Ok(self.end()) };
            if line.trim().is_empty() {
                continue;
            }
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(ReadError::TooMany);
            }
            let event = parse(line).map_err(|problem| ReadError::invalid(place, problem))?;
            self.last = (place, event.time_us);
            if self.state == State::Before {
                self.state = State::Reading;
                return Ok(Some(self.begin(place, event)));
            }
            return Ok(Some((place, event)));
        }
    }

    /// The opens that the logger left out, before the first line's event.
    fn begin(&mut self, place: Place, first: Event) -> (Place, Event) {
        let opened = |call, fd: Fd| plain(first.time_us, call, Answer::Returned(fd.raw().into()));
        let container = opened(Call::OpenContainer, CONTAINER);
        let group = opened(Call::OpenGroup { group: 0 }, GROUP);
        self.waiting.extend([(place, group), (place, first)]);
        (place, container)
    }

    fn end(&mut self) -> Option<(Place, Event)> {
        if self.state != State::Reading {
            return None;
        }
        self.state = State::Over;
        Some((self.last.0, plain(self.last.1, Call::Exit, Answer::OK)))
    }
}

impl Iterator for Logger {
    type Item = Result<(Place, Event), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Over {
            return None;
        }
        let result = self.read();
        if result.is_err() {
            self.state = State::Over;
        }
        result.transpose()
    }
}

const fn plain(time_us: u64, call: Call, answer: Answer) -> Event {
    Event {
        time_us,
        duration_us: None,
        process: PROCESS,
        thread: PROCESS,
        call,
        answer,
        locked: None,
        backing: None,
    }
}

fn parse(line: &str) -> Result<Event, String> {
    let (time, rest) = line.trim_start().split_once(' ').ok_or("there is only one word")?;
    let time_us = parse_seconds(time).ok_or_else(|| format!("{time:?} is no time in seconds"))?;
    let (name, rest) = rest.split_once(' ').ok_or("the call has no result")?;
    let (arguments, result) =
        rest.rsplit_once("ret=").ok_or("the call has no result: ret= is missing")?;
    let mut result = result.split_ascii_whitespace();
    let returned = result.next().and_then(|value| value.parse().ok());
    let returned: i64 = returned.ok_or("what stands behind ret= is no number")?;
    let mut answer = Answer::Returned(returned);
    let (mut duration_us, mut locked) = (None, None);
    for word in result {
        if let Some(value) = word.strip_prefix("us=") {
            duration_us = Some(parse_micros(value).ok_or("what stands behind us= is no time")?);
        } else if let Some(value) = word.strip_prefix("VmLck=") {
            locked = parse_locked(value)?;
        } else {
            answer = Answer::Failed(parse_errno(word)?);
        }
    }
    let call = call(name, &Arguments(arguments), answer)?;
    Ok(Event { duration_us, locked, ..plain(time_us, call, answer) })
}

/// The words between the name and the result.
struct Arguments<'a>(&'a str);

impl Arguments<'_> {
    fn hex(&self, key: &str) -> Result<u64, String> {
        self.number(key, 16)
    }

    fn decimal(&self, key: &str) -> Result<u64, String> {
        self.number(key, 10)
    }

    fn small(&self, key: &str, radix: u32) -> Result<u32, String> {
        let number = self.number(key, radix)?;
        u32::try_from(number).map_err(|_| format!("{key}={number:x} is too large"))
    }

    fn number(&self, key: &str, radix: u32) -> Result<u64, String> {
        let mut words = self.0.split_ascii_whitespace();
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let value = value.ok_or_else(|| format!("{key}= is missing"))?;
        u64::from_str_radix(value, radix).map_err(|_| format!("{key}={value} is no number"))
    }

    /// The one argument of a call that has no names.
    fn only(&self) -> Result<u32, String> {
        let word = self.0.trim();
        word.parse().map_err(|_| format!("{word:?} is no number"))
    }
}

fn call(name: &str, arguments: &Arguments<'_>, answer: Answer) -> Result<Call, String> {
    let container = CONTAINER;
    let flags = || arguments.small("flags", 16);
    let address = || arguments.hex("vaddr").map(HostAddr::new);
    let size = || arguments.hex("size").map(Bytes::new);
    let iova = || arguments.hex("iova").map(Iova::new);
    let start = || arguments.hex("start").map(Iova::new);
    Ok(match name {
        "GET_API_VERSION" => Call::ApiVersion { container },
        "CHECK_EXTENSION" => Call::CheckExtension { container, extension: arguments.only()? },
        "SET_IOMMU" => Call::SetIommu { container, backend: arguments.only()? },
        "GROUP_GET_STATUS" => Call::GroupStatus { group: GROUP, flags: flags()? },
        // The number behind it is the container's descriptor, which no other line names.
        "GROUP_SET_CONTAINER" => Call::SetContainer { group: GROUP, container },
        "GROUP_UNSET_CONTAINER" => Call::UnsetContainer { group: GROUP },
        "GROUP_GET_DEVICE_FD" => {
            Call::OpenDevice { group: GROUP, address: arguments.0.trim().to_owned() }
        }
        "REGISTER" => {
            Call::Register { container, flags: flags()?, address: address()?, size: size()? }
        }
        "UNREGISTER" => {
            Call::Unregister { container, flags: flags()?, address: address()?, size: size()? }
        }
        "TCE_CREATE" => Call::Create {
            container,
            flags: flags()?,
            page_shift: arguments.small("page_shift", 10)?,
            size: arguments.hex("window_size").map(Bytes::new)?,
            levels: arguments.small("levels", 10)?,
            start: start()?,
        },
        "TCE_REMOVE" => Call::Remove { container, flags: 0, start: start()? },
        "MAP_DMA" => {
            let call = Call::Map {
                container,
                flags: flags()?,
                address: address()?,
                iova: iova()?,
                size: size()?,
            };
            if is_hot_reset(&call, answer) { device(Name::HotReset) } else { call }
        }
        "UNMAP_DMA" => Call::Unmap { container, flags: flags()?, iova: iova()?, size: size()? },
        "EEH_PE_OP" => Call::Eeh { container, operation: arguments.small("op", 10)? },
        "DEVICE_GET_INFO" => device(Name::Info),
        "DEVICE_GET_REGION_INFO" => device(Name::RegionInfo),
        "DEVICE_GET_IRQ_INFO" => device(Name::IrqInfo),
        "DEVICE_SET_IRQS" => device(Name::SetIrqs),
        "DEVICE_RESET" => device(Name::Reset),
        _ if name.starts_with("nr70") => info(arguments)?,
        _ => return Err(format!("{name} is no call known here")),
    })
}

/// Number 112 is `VFIO_IOMMU_SPAPR_TCE_GET_INFO` on a container and `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO` on a device,
/// whose structure has another size.
fn info(arguments: &Arguments<'_>) -> Result<Call, String> {
    if !INFO_SIZES.contains(&arguments.decimal("argsz")?) {
        return Ok(device(Name::HotResetInfo));
    }
    Ok(Call::Info {
        container: CONTAINER,
        flags: arguments.small("flags", 16)?,
        window_start: arguments.hex("d32start").map(Iova::new)?,
        window_size: arguments.hex("d32size").map(Bytes::new)?,
        page_sizes: arguments.hex("pgsizes")?,
        windows_max: arguments.small("maxwin", 10)?,
        levels_max: arguments.small("levels", 10)?,
    })
}

/// Number 113 is `VFIO_IOMMU_MAP_DMA` on a container and `VFIO_DEVICE_PCI_HOT_RESET` on a device. A container answers
/// 0 to no map without access or in odd bytes.
fn is_hot_reset(call: &Call, answer: Answer) -> bool {
    let Call::Map { flags, address, size, .. } = call else { return false };
    let is_odd = !address.is_aligned(PageShift::K4) || !size.is_multiple_of(PageShift::K4);
    answer.is_zero() && (*flags == 0 || is_odd)
}

const fn device(name: Name) -> Call {
    // The device's descriptor is in the line of its open, but a later line does not say whose it is.
    Call::Device { device: Fd::new(1002), operation: DeviceOperation::Named(name) }
}

fn parse_seconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    decimal(seconds, fraction, 6)
}

fn parse_micros(text: &str) -> Option<u64> {
    let (micros, _) = text.split_once('.').unwrap_or((text, ""));
    micros.parse().ok()
}

/// A decimal number in units of 10 to the power of -`digits`.
fn decimal(whole: &str, fraction: &str, digits: usize) -> Option<u64> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > digits {
        return None;
    }
    format!("{whole}{fraction:0<digits$}").parse().ok()
}

/// `-1kB` where it was not read.
fn parse_locked(text: &str) -> Result<Option<Bytes>, String> {
    let wrong = || format!("VmLck={text} is no size in kB");
    let kib: i64 = text.strip_suffix("kB").and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    match u64::try_from(kib) {
        Ok(kib) => kib.checked_mul(1024).map(|bytes| Some(Bytes::new(bytes))).ok_or_else(wrong),
        Err(_) => Ok(None),
    }
}

fn parse_errno(word: &str) -> Result<Errno, String> {
    let number = || word.strip_prefix("errno=").unwrap_or(word).parse().ok().map(Errno);
    Errno::from_name(word).or_else(number).ok_or_else(|| format!("{word} is no errno known here"))
}
