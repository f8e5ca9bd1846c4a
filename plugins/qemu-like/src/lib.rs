//! What QEMU's pseries machine does for a guest with a passed-through device: something to compare with.
//!
//! - **Pages.** Memory that must lie below 1 GiB is the guest's boot window: 4 KiB pages, whatever backs it. All other
//!   memory gets the largest page that is no larger than the guest's own IOMMU page and than the smallest page that
//!   backs any of it.
//! - **Windows.** The boot window has 1 GiB in slot 0. The other one, which a guest asks for by "dynamic DMA windows",
//!   is in slot 1: the memory and its growth, rounded up to a power of two. Where slot 1 has no window for it, it has to
//!   do with 1 GiB in slot 0.
//! - **Levels.** By QEMU's formula, from the bits of the table and of the host's page; more where those are not to be
//!   had, fewer never.
//!
//! QEMU looks at no locked-memory limit before it creates a window. This policy refuses what the limit does not allow,
//! since an answer beyond it would be called broken.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `guest-page` | a page, such as `64K` (the default) | The largest page of the guest's own IOMMU: QEMU's `pgsz`. |
//! | `ddw` | `on` (the default) or `off` | Whether the guest may ask for the second window. Without it everything has 1 GiB and 4 KiB pages. |

#![forbid(unsafe_code)]

mod rules;
mod windows;

use tce_policy_sdk::{
    page_selection::{PageQuestion, PageSelection},
    reading::problems,
    settings::{SettingDescription, SettingProblem, Settings},
    types::{PageChoice, PageShift, Refusal, RefusalReason, Region, Setting},
    window_sizing::{WindowChoice, WindowQuestion, WindowSizing},
};

use rules::Rules;

/// Where the boot window ends, which starts at 0.
const BOOT_END: u64 = 1 << 30;
/// Its page.
const BOOT_PAGE: PageShift = 12;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct QemuLike;

tce_policy_sdk::export_policy!(QemuLike: PageSelection, WindowSizing, Settings);

impl PageSelection for QemuLike {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        let rules = Rules::read(&question.settings)?;
        let (boot, other): (Vec<&Region>, Vec<&Region>) =
            question.demand.regions.iter().partition(|region| rules.is_for_boot(region));
        let parts = [(boot, BOOT_PAGE), (other, rules.guest_page)];
        let parts = parts.into_iter().filter(|(regions, _)| !regions.is_empty());
        parts.map(|(regions, page_max)| choose(&question, &regions, page_max)).collect()
    }
}

fn choose(
    question: &PageQuestion,
    regions: &[&Region],
    page_max: PageShift,
) -> Result<PageChoice, Refusal> {
    let page = question.facts.largest_page(regions, page_max).ok_or_else(|| {
        let page_max = tce_policy_sdk::Size::of_page(page_max);
        Refusal::new(
            RefusalReason::PageSize,
            format!("no page of the container up to the guest's {page_max} suits all its memory"),
        )
    })?;
    Ok(PageChoice { page, regions: regions.iter().map(|region| region.id).collect() })
}

impl WindowSizing for QemuLike {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        windows::size(&question, &Rules::read(&question.settings)?)
    }
}

impl Settings for QemuLike {
    fn describe_settings() -> Vec<SettingDescription> {
        rules::describe()
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        problems(settings, Rules::read)
    }
}
