//! The format: what is written is read, and what is no trace is refused with its line.

use std::io::{Cursor, Write as _};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    errno::Errno,
    kernel::{Fd, Platform},
};
use tce_trace::{
    event::{Answer, Call, DeviceOperation, Event},
    format::{Header, LINE_BYTES_MAX, ReadError, Reader, Writer},
};

fn header() -> Header {
    Header {
        kernel: Some("6.12.107".to_owned()),
        machine: Some("ppc64le".to_owned()),
        platform: Some(Platform::Powernv),
        page_size: Some(4096),
        locked_limit: Some(Bytes::new(u64::MAX)),
        ..Header::new(vec!["dpdk-testpmd".to_owned(), "--iova-mode=pa".to_owned()])
    }
}

fn fd() -> impl Strategy<Value = Fd> {
    (0..=i32::MAX).prop_map(Fd::new)
}

fn memory_calls() -> impl Strategy<Value = Call> {
    let range = (any::<u64>().prop_map(HostAddr::new), any::<u64>().prop_map(Bytes::new));
    let place = any::<u64>().prop_map(Iova::new);
    (fd(), any::<u32>(), range, place, any::<[u32; 3]>(), 0..6).prop_map(
        |(container, flags, (address, size), iova, [page_shift, levels, _], kind)| match kind {
            0 => Call::Register { container, flags, address, size },
            1 => Call::Unregister { container, flags, address, size },
            2 => Call::Create { container, flags, page_shift, size, levels, start: iova },
            3 => Call::Remove { container, flags, start: iova },
            4 => Call::Map { container, flags, address, iova, size },
            _ => Call::Unmap { container, flags, iova, size },
        },
    )
}

fn container_calls() -> impl Strategy<Value = Call> {
    (fd(), any::<u32>(), any::<[u64; 3]>(), any::<u32>(), 0..8).prop_map(
        |(container, flags, [start, size, page_sizes], number, kind)| match kind {
            0 => Call::ApiVersion { container },
            1 => Call::CheckExtension { container, extension: number },
            2 => Call::SetIommu { container, backend: number },
            3 => Call::Info {
                container,
                flags,
                window_start: Iova::new(start),
                window_size: Bytes::new(size),
                page_sizes,
                windows_max: number,
                levels_max: flags,
            },
            4 => Call::Enable { container },
            5 => Call::Disable { container },
            6 => Call::Eeh { container, operation: number },
            _ => Call::OpenContainer,
        },
    )
}

fn group_calls() -> impl Strategy<Value = Call> {
    (fd(), fd(), any::<u32>(), ".*", 0..6).prop_map(|(group, container, number, address, kind)| {
        match kind {
            0 => Call::OpenGroup { group: number },
            1 => Call::GroupStatus { group, flags: number },
            2 => Call::SetContainer { group, container },
            3 => Call::UnsetContainer { group },
            4 => Call::OpenDevice { group, address },
            _ => Call::Device { device: group, operation: DeviceOperation::from_number(number) },
        }
    })
}

fn other_calls() -> impl Strategy<Value = Call> {
    (fd(), fd(), fd(), any::<[u64; 3]>(), any::<u32>(), 0..11).prop_map(
        |(link, group, table, [liobn, offset, size], number, kind)| match kind {
            0 => Call::Close { fd: link },
            1 => Call::Duplicate { fd: link },
            2 => Call::Fork { child: number },
            3 => Call::Exit,
            4 => Call::CreateVm,
            5 => Call::CreateKvmVfio { vm: link },
            6 => Call::CreateGuestTable { vm: link, liobn, page_shift: number, offset, size },
            7 => Call::AddGroup { link, group },
            8 => Call::DeleteGroup { link, group },
            9 => Call::AttachGuestTable { link, group, table },
            _ => Call::Other { fd: link, request: liobn },
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let call = prop_oneof![
        memory_calls(),
        container_calls(),
        group_calls(),
        other_calls(),
        (100..120_u32).prop_map(|number| Call::Device {
            device: Fd::new(3),
            operation: DeviceOperation::from_number(number)
        }),
    ];
    let answer = prop_oneof![
        any::<i64>().prop_map(Answer::Returned),
        (1..140).prop_map(|errno| Answer::Failed(Errno(errno))),
    ];
    let bytes = || proptest::option::of(any::<u64>().prop_map(Bytes::new));
    let times = (any::<u64>(), proptest::option::of(any::<u64>()));
    (times, any::<[u32; 2]>(), call, answer, bytes(), bytes()).prop_map(
        |((time_us, duration_us), [process, thread], call, answer, locked, backing)| Event {
            time_us,
            duration_us,
            process,
            thread,
            call,
            answer,
            locked,
            backing,
        },
    )
}

fn written(header: &Header, events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for event in events {
        writer.write(event).unwrap();
    }
    writer.into_inner()
}

fn read(text: Vec<u8>) -> Result<(Header, Vec<Event>), ReadError> {
    let reader = Reader::new(Cursor::new(text))?;
    let header = reader.header().clone();
    let events = reader.map(|event| event.map(|(_, event)| event));
    Ok((header, events.collect::<Result<_, _>>()?))
}

proptest! {
    #[test]
    fn what_is_written_is_read(events in proptest::collection::vec(event(), 0..20)) {
        let header = header();
        let (header_read, events_read) = read(written(&header, &events)).unwrap();
        prop_assert_eq!(header_read, header);
        prop_assert_eq!(events_read, events);
    }

    #[test]
    fn an_event_is_one_flat_line(event in event()) {
        let text = String::from_utf8(written(&header(), std::slice::from_ref(&event))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        prop_assert_eq!(lines.len(), 2);
        let value: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        let fields = value.as_object().unwrap();
        prop_assert!(fields.values().all(|value| !value.is_object() && !value.is_array()));
        prop_assert!(fields["call"].is_string());
        prop_assert!(fields.contains_key("returned") != fields.contains_key("failed"));
    }
}

#[test]
fn a_map_looks_as_documented() {
    let event = Event {
        time_us: 1500,
        duration_us: Some(12),
        process: 40,
        thread: 41,
        call: Call::Map {
            container: Fd::new(8),
            flags: 3,
            address: HostAddr::new(0x3fff_5900_0000),
            iova: Iova::new(0x800_0000_0000_0000),
            size: Bytes::new(0x100_0000),
        },
        answer: Answer::Failed(Errno::EINVAL),
        locked: Some(Bytes::new(0x1000)),
        backing: None,
    };
    let text = String::from_utf8(written(&header(), &[event])).unwrap();
    assert_eq!(
        text.lines().nth(1).unwrap(),
        r#"{"time_us":1500,"duration_us":12,"process":40,"thread":41,"call":"map","container":8,"flags":3,"address":"0x3fff59000000","iova":"0x800000000000000","size":"0x1000000","failed":"EINVAL","locked":"0x1000"}"#
    );
}

#[test]
fn a_compressed_trace_is_read_as_it_is() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&written(&header(), &[])).unwrap();
    let (header_read, events) = read(packed.finish().unwrap()).unwrap();
    assert_eq!((header_read, events.len()), (header(), 0));
}

#[test]
fn a_wrong_line_is_named() {
    let mut text = written(&header(), &[]);
    text.extend(b"\n{\"time_us\":1,\"process\":1,\"thread\":1,\"call\":\"map\",\"returned\":0}\n");
    let error = read(text).unwrap_err().to_string();
    assert!(error.starts_with("line 3: no event: missing field `container`"), "{error}");
}

#[test]
fn another_format_or_version_is_refused() {
    let other = |field: &str, value: &str| {
        let text = String::from_utf8(written(&header(), &[])).unwrap();
        read(text.replace(field, value).into_bytes()).unwrap_err().to_string()
    };
    assert_eq!(
        other("\"tce-trace\"", "\"other\""),
        "line 1: the format is \"other\"; \"tce-trace\" is the one read here"
    );
    assert_eq!(
        other("\"version\":1", "\"version\":2"),
        "line 1: the version is 2; 1 is the one read here"
    );
    assert!(other("powernv", "power").contains("\"power\" is no platform"));
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let mut text = written(&header(), &[]);
    text.resize(text.len() + LINE_BYTES_MAX + 1, b' ');
    assert!(matches!(read(text), Err(ReadError::LongLine(place)) if place.0 == 2));
}

#[test]
fn an_empty_file_is_no_trace() {
    assert_eq!(read(Vec::new()).unwrap_err().to_string(), "the trace is empty");
}
