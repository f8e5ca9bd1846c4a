//! Memory that can be locked, and huge pages.

use tce_engine::addr::{Bytes, PageShift};
use tce_vfio::survey::{HugePagePool, LockedMemoryLimit};

use super::check::{Check, Remedy};

/// With less to lock, hardly any device can be driven: buffers and tables of a small one take as much.
const LOCKED_MIN: Bytes = Bytes::mib(64);
/// What the remedies propose.
const LOCKED_PROPOSED: &str = "8388608";

pub(super) fn locked(memory: Option<LockedMemoryLimit>) -> Check {
    const NAME: &str = "locked memory";
    match memory {
        None => Check::warning(
            NAME,
            "the limit cannot be read",
            Remedy::new("mount /proc: runs need it as well"),
        ),
        Some(LockedMemoryLimit { is_exempt: true, .. }) => {
            Check::ok(NAME, "no limit holds (CAP_IPC_LOCK)")
        }
        Some(LockedMemoryLimit { limit: None, .. }) => Check::ok(NAME, "unlimited"),
        Some(LockedMemoryLimit { limit: Some(limit), .. }) => {
            let finding =
                format!("at most {limit} for registered memory and tables, without CAP_IPC_LOCK");
            if limit < LOCKED_MIN {
                Check::missing(NAME, finding, raise())
            } else {
                Check::warning(NAME, finding, raise())
            }
        }
    }
}

fn raise() -> Remedy {
    Remedy::new(
        "raise it to what your devices need, 8 GiB for instance: for this shell, in a systemd \
         unit, or for a user in /etc/security/limits.d:",
    )
    .by([
        format!("ulimit -l {LOCKED_PROPOSED}"),
        "systemctl edit UNIT   # [Service] LimitMEMLOCK=8G".to_owned(),
        format!("echo 'USER - memlock {LOCKED_PROPOSED}' > /etc/security/limits.d/vfio.conf"),
    ])
}

pub(super) fn huge_pages(pools: &[HugePagePool]) -> Check {
    const NAME: &str = "huge pages";
    let Some(first) = pools.first() else {
        let remedy = Remedy::new("use a kernel with CONFIG_HUGETLBFS if large TCE pages matter");
        return Check::warning(NAME, "the kernel has none", remedy);
    };
    let pool =
        |pool: &HugePagePool| format!("{} of {}, {} free", pool.total, pool.page_shift, pool.free);
    let finding = pools.iter().map(pool).collect::<Vec<_>>().join("; ");
    if pools.iter().any(|pool| pool.total > 0) {
        return Check::ok(NAME, finding);
    }
    let remedy =
        "reserve some where large TCE pages matter: jobs with memory = \"hugetlb\" need them:";
    Check::warning(NAME, finding, Remedy::new(remedy).by([reserve(512, first.page_shift)]))
}

/// The command that reserves huge pages.
fn reserve(count: u64, page: PageShift) -> String {
    let kilobytes = page.bytes().raw() >> 10;
    format!("echo {count} > /sys/kernel/mm/hugepages/hugepages-{kilobytes}kB/nr_hugepages")
}
