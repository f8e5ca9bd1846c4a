//! Whether two kernels said the same.

use tce_engine::addr::Iova;

use crate::event::{Answer, Call, Event};

use super::Simulated;

/// Whether the simulated kernel agrees with the recorded one. A new descriptor's number may differ.
pub(super) fn agree(event: &Event, simulated: Simulated) -> bool {
    let is_open = matches!(
        event.call,
        Call::OpenContainer
            | Call::OpenGroup { .. }
            | Call::OpenDevice { .. }
            | Call::CreateVm
            | Call::CreateKvmVfio { .. }
            | Call::CreateGuestTable { .. }
    );
    if is_open && event.answer.descriptor().is_some() {
        return simulated.opened.is_some();
    }
    let same_start = match (&event.call, event.answer) {
        (Call::Create { start, .. }, Answer::OK) => simulated.start == Some(*start),
        _ => true,
    };
    event.answer == simulated.answer && same_start
}

pub(super) const fn start_of(call: &Call) -> Option<Iova> {
    match call {
        Call::Create { start, .. } => Some(*start),
        _ => None,
    }
}

pub(super) fn shown(answer: Answer, start: Option<Iova>) -> String {
    match (answer, start) {
        (Answer::OK, Some(start)) => format!("a window at {start}"),
        _ => answer.to_string(),
    }
}
