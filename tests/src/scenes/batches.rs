//! The scene of a batch across regions and windows.

use anyhow::{Context, Result};
use tce_engine::{
    addr::{Bytes, PageShift},
    edit::Edit,
    lingering::Unmapping,
    machine::Machine,
    window::Claim,
};

use crate::stage::{Stage, TceCalls};

const NONE: TceCalls = TceCalls { map: 0, unmap: 0 };

/// One batch maps, unmaps and replaces in both windows and with two regions, in as many calls as there are runs; devices
/// find every border where it is to be; the same batch again takes no call.
///
/// # Errors
/// What did not come out so.
pub fn a_batch_changes_both_windows_at_once<M: Machine>(stage: &mut Stage<'_, M>) -> Result<()> {
    let low = stage.default_window()?;
    let high = stage.second_window()?;
    let (size, unit) = (stage.units(8), |count| stage.units(count));
    let (one, two, six) = (unit(1), unit(2), unit(6));
    let (one_memory, other_memory) = (stage.memory(8)?, stage.memory(8)?);
    let (lease, Claim { start: low, .. }) = stage.lease(low, size, Unmapping::Strict)?;
    let high = stage.engine.extend_lease(lease, high, None, size)?.start;

    let edits = [one_memory.map_all(low), other_memory.map_all(high)];
    stage.apply(lease, &edits, TceCalls { map: 2, unmap: 0 })?;
    let last = size.checked_sub(PageShift::K4.bytes()).context("more than a page")?;
    stage.load_stamp(low, one_memory.at(Bytes::ZERO))?;
    for (start, memory) in [(low, one_memory), (high, other_memory)] {
        for offset in [Bytes::ZERO, last] {
            let iova = start.checked_add(offset).context("inside the lease")?;
            stage.leads(iova, memory.at(offset)).context("after the first batch")?;
        }
    }

    let at = |start: tce_engine::addr::Iova, offset| {
        start.checked_add(offset).context("inside the lease")
    };
    let edits = [
        other_memory.map(low, Bytes::ZERO, two),
        Edit::Unmap(Claim { start: at(low, six)?, size: two }),
        Edit::Unmap(Claim { start: high, size: two }),
        one_memory.map(at(high, six)?, six, two),
    ];
    stage.apply(lease, &edits, TceCalls { map: 2, unmap: 2 })?;
    let before = |offset: Bytes| offset.checked_sub(PageShift::K4.bytes()).unwrap_or_default();
    for (start, offset, memory) in [
        (low, Bytes::ZERO, other_memory),
        (low, before(two), other_memory),
        (low, two, one_memory),
        (low, before(six), one_memory),
        (high, two, other_memory),
        (high, before(six), other_memory),
        (high, six, one_memory),
        (high, last, one_memory),
    ] {
        stage.leads(at(start, offset)?, memory.at(offset)).context("after the second batch")?;
    }
    for (start, offset, memory) in [
        (low, six, one_memory),
        (low, last, one_memory),
        (high, Bytes::ZERO, other_memory),
        (high, one, other_memory),
    ] {
        stage.leads_nowhere(at(start, offset)?, memory.at(offset))?;
    }
    stage.apply(lease, &edits, NONE).context("the same batch again")?;
    Ok(())
}
