//! What `strace -f -e trace=ioctl` prints (better: `-e trace=ioctl,open,openat,close,dup,dup2,dup3`).
//!
//! strace names the calls, but shows a VFIO structure as an address only, so most calls become [`Call::Other`] with
//! their number: that they were made is known, what they asked for is not. It does not tell threads from processes
//! either: all is read as one process.

mod line;
mod numbers;

use std::collections::HashMap;

use tce_engine::{errno::Errno, kernel::Fd};

use crate::{
    event::{Answer, Call, DeviceOperation, Event},
    format::{EVENTS_MAX, Lines, Place, ReadError},
};

use self::line::{Line, Said};
pub(super) use self::line::{is_call, is_remark};

/// Calls that are under way at once.
const UNFINISHED_MAX: usize = 100_000;
/// The files that descriptors can be on.
const CONTAINER_PATH: &str = "/dev/vfio/vfio";
const GROUP_PATH: &str = "/dev/vfio/";
const DEVICE_PATH: &str = "anon_inode:[vfio-device]";

/// What a descriptor is, as far as the text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Group(u32),
    /// A group whose open is not in the text.
    SomeGroup,
    Device,
}

/// The events of such a text.
pub(super) struct Strace {
    lines: Lines,
    /// What was printed of calls that had not ended, by thread.
    unfinished: HashMap<u32, String>,
    kinds: HashMap<i32, Kind>,
    process: Option<u32>,
    first_time: Option<u64>,
    events: u64,
    is_over: bool,
}

/// What was told of one thread.
struct Told {
    place: Place,
    thread: u32,
    time_us: Option<u64>,
    /// A whole call; `None`: the thread ended.
    what: Option<String>,
}

impl Strace {
    pub(super) fn new(lines: Lines) -> Self {
        Self {
            lines,
            unfinished: HashMap::new(),
            kinds: HashMap::new(),
            process: None,
            first_time: None,
            events: 0,
            is_over: false,
        }
    }

    fn read(&mut self) -> Result<Option<(Place, Event)>, ReadError> {
        while let Some(Told { place, thread, time_us, what }) = self.told()? {
            let Some(whole) = what else {
                if self.process != Some(thread) {
                    continue;
                }
                self.is_over = true;
                let event = self.event(thread, time_us, Call::Exit, Answer::OK);
                return Ok(Some((place, event)));
            };
            self.process.get_or_insert(thread);
            let Some(done) = line::Done::parse(&whole) else { continue };
            let Some((call, answer)) = self.call(&done) else { continue };
            self.events += 1;
            if self.events > EVENTS_MAX {
                return Err(ReadError::TooMany);
            }
            let event = self.event(thread, time_us, call, answer);
            return Ok(Some((place, Event { duration_us: done.duration_us, ..event })));
        }
        self.is_over = true;
        Ok(None)
    }

    /// The next call that has ended, put together from its parts, or the next thread that has.
    fn told(&mut self) -> Result<Option<Told>, ReadError> {
        while let Some((place, text)) = self.lines.next()? {
            let Some(Line { thread, time_us, said }) = Line::parse(text) else { continue };
            let what = match said {
                Said::Call(text) => Some(text.to_owned()),
                Said::Begun(text) => {
                    if self.unfinished.len() >= UNFINISHED_MAX {
                        return Err(ReadError::invalid(place, "too many calls are unfinished"));
                    }
                    self.unfinished.insert(thread, text.to_owned());
                    continue;
                }
                Said::Resumed(rest) => match self.unfinished.remove(&thread) {
                    Some(begun) => Some(begun + rest),
                    None => continue,
                },
                Said::Ended => None,
            };
            return Ok(Some(Told { place, thread, time_us, what }));
        }
        Ok(None)
    }

    fn event(&mut self, thread: u32, time_us: Option<u64>, call: Call, answer: Answer) -> Event {
        let time = time_us.unwrap_or(0);
        let first = *self.first_time.get_or_insert(time);
        Event {
            time_us: time.saturating_sub(first),
            duration_us: None,
            process: self.process.unwrap_or(thread),
            thread,
            call,
            answer,
            locked: None,
            backing: None,
        }
    }

    /// The event of a call, if it is one that matters.
    fn call(&mut self, done: &line::Done<'_>) -> Option<(Call, Answer)> {
        let answer = done.answer;
        let call = match done.name {
            "open" | "openat" => self.open(done)?,
            "close" => self.close(done)?,
            "dup" | "dup2" | "dup3" | "fcntl" => self.duplicate(done)?,
            "ioctl" => self.ioctl(done)?,
            _ => return None,
        };
        Some((call, answer))
    }

    fn open(&mut self, done: &line::Done<'_>) -> Option<Call> {
        let path = done.arguments.split('"').nth(1)?;
        let kind = kind_of_path(path)?;
        if let Some(fd) = done.answer.descriptor() {
            self.kinds.insert(fd.raw(), kind);
        }
        match kind {
            Kind::Container => Some(Call::OpenContainer),
            Kind::Group(group) => Some(Call::OpenGroup { group }),
            Kind::SomeGroup | Kind::Device => None,
        }
    }

    fn close(&mut self, done: &line::Done<'_>) -> Option<Call> {
        let (fd, _) = self.descriptor(done.argument(0)?)?;
        self.kinds.remove(&fd.raw())?;
        Some(Call::Close { fd })
    }

    fn duplicate(&mut self, done: &line::Done<'_>) -> Option<Call> {
        if done.name == "fcntl" && !done.argument(1)?.starts_with("F_DUPFD") {
            return None;
        }
        let (fd, kind) = self.descriptor(done.argument(0)?)?;
        let kind = kind?;
        if let Some(copy) = done.answer.descriptor() {
            self.kinds.insert(copy.raw(), kind);
        }
        Some(Call::Duplicate { fd })
    }

    fn ioctl(&mut self, done: &line::Done<'_>) -> Option<Call> {
        let number = numbers::of_request(done.argument(1)?)?;
        let (fd, kind) = self.descriptor(done.argument(0)?)?;
        let kind = kind.or_else(|| kind_by_number(number));
        if let Some(kind) = kind {
            self.kinds.entry(fd.raw()).or_insert(kind);
        }
        if number == numbers::GET_DEVICE_FD
            && let Some(device) = done.answer.descriptor()
        {
            self.kinds.insert(device.raw(), Kind::Device);
        }
        let value =
            || done.argument(2).and_then(line::number).and_then(|it| u32::try_from(it).ok());
        let other = Call::Other { fd, request: numbers::request(number) };
        Some(match (number, kind) {
            (_, Some(Kind::Device)) => {
                Call::Device { device: fd, operation: DeviceOperation::from_number(number) }
            }
            (numbers::API_VERSION, _) => Call::ApiVersion { container: fd },
            (numbers::CHECK_EXTENSION, _) => match value() {
                Some(extension) => Call::CheckExtension { container: fd, extension },
                None => other,
            },
            (numbers::SET_IOMMU, _) => match value() {
                Some(backend) => Call::SetIommu { container: fd, backend },
                None => other,
            },
            (numbers::UNSET_CONTAINER, _) => Call::UnsetContainer { group: fd },
            _ => other,
        })
    }

    /// A descriptor as printed, with `-y` also its file, and what it is.
    fn descriptor(&mut self, text: &str) -> Option<(Fd, Option<Kind>)> {
        let (number, path) = text.split_once('<').unwrap_or((text, ""));
        let fd: i32 = number.parse().ok()?;
        if let Some(kind) = kind_of_path(path.trim_end_matches('>')) {
            self.kinds.insert(fd, kind);
        }
        Some((Fd::new(fd), self.kinds.get(&fd).copied()))
    }
}

impl Iterator for Strace {
    type Item = Result<(Place, Event), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let result = self.read();
        if result.is_err() {
            self.is_over = true;
        }
        result.transpose()
    }
}

fn kind_of_path(path: &str) -> Option<Kind> {
    match path {
        CONTAINER_PATH => Some(Kind::Container),
        DEVICE_PATH => Some(Kind::Device),
        _ => Some(Kind::Group(path.strip_prefix(GROUP_PATH)?.parse().ok()?)),
    }
}

/// What only one kind of descriptor is asked.
const fn kind_by_number(number: u32) -> Option<Kind> {
    match number {
        100..=102 | 118..=121 => Some(Kind::Container),
        103..=106 => Some(Kind::SomeGroup),
        107..=111 => Some(Kind::Device),
        _ => None,
    }
}

/// An errno by name. For a name that is not known here it is 0: strace does not print numbers.
fn errno(name: &str) -> Errno {
    Errno::from_name(name).unwrap_or(Errno(0))
}
