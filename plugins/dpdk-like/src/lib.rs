//! What DPDK does with its hugepages: something to compare with.
//!
//! - **Pages.** One size for everything: the page that backs the region which ends highest, not the smallest. Where
//!   other memory has smaller pages DPDK's maps fail; this policy refuses.
//! - **Windows.** One window at bus address 0, from there to the top of DPDK's addresses, rounded up to a power of two,
//!   however little lies in it. Addresses are those that the demand gives its regions; without any, the setting `top`
//!   says. Tables have the fewest levels that can be. Growth is not looked at: the window is made once.
//!
//! DPDK looks neither at reserved ranges nor at the locked-memory limit. This policy refuses what they do not allow,
//! since an answer that cannot be would be called broken.
//!
//! # Settings
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `top` | a bus address, such as `64T` (the default) | Where DPDK's addresses end, if no region has one: with IOVA=PA the end of the machine's memory, with IOVA=VA the end of the reserved virtual memory. |

#![forbid(unsafe_code)]

use tce_policy_sdk::{
    Size,
    page_selection::{PageQuestion, PageSelection},
    reading::{problems, read},
    settings::{SettingDescription, SettingProblem, Settings},
    types::{Iova, PageChoice, Refusal, RefusalReason, Region, Setting},
    window_sizing::{Candidate, WindowChoice, WindowQuestion, WindowSizing},
};

const TOP: &str = "top";
const AN_ADDRESS: &str = "a bus address such as 64T, 0x400000000000 or 4G";
/// What testpmd reserves on a kernel with 4 KiB pages, unless told otherwise.
const TOP_DEFAULT: Iova = 1 << 46;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub struct DpdkLike;

tce_policy_sdk::export_policy!(DpdkLike: PageSelection, WindowSizing, Settings);

impl PageSelection for DpdkLike {
    fn select_pages(question: PageQuestion) -> Result<Vec<PageChoice>, Refusal> {
        let refuse = |detail: String| Err(Refusal::new(RefusalReason::PageSize, detail));
        let regions = &question.demand.regions;
        let Some(highest) = regions.iter().max_by_key(|region| end(region)) else {
            return refuse("there is no memory to map".to_owned());
        };
        let page = highest.backing;
        let shown = Size::of_page(page);
        if !question.facts.page_shifts.contains(&page) {
            return refuse(format!(
                "the container has no pages of {shown}, as back the highest region"
            ));
        }
        match regions.iter().find(|region| !region.allows(page)) {
            None => Ok(vec![question.demand.all_with(page)]),
            Some(region) => refuse(format!(
                "DPDK takes pages of {shown}, which back region {}, the highest; region {} does not allow them",
                highest.id, region.id
            )),
        }
    }
}

impl WindowSizing for DpdkLike {
    fn size_windows(question: WindowQuestion) -> Result<Vec<WindowChoice>, Refusal> {
        let [choice] = question.pages.as_slice() else {
            let detail = "DPDK makes one window, which has one page size";
            return Err(Refusal::new(RefusalReason::Window, detail));
        };
        let regions = question.regions_of(choice);
        let size = top(&question)?.checked_next_power_of_two();
        let suits = |each: &&Candidate| {
            each.start == 0
                && Some(each.size) == size
                && each.page == choice.page
                && each.holds(&question.facts, &regions, 0)
        };
        let wanted = match size {
            Some(size) => format!("a window of {} from bus address 0", Size(size)),
            None => "a window as large as all bus addresses".to_owned(),
        };
        let rank = |each: &Candidate| (each.levels, each.slot, each.charge);
        let candidates = question.candidates.iter().filter(suits);
        let chosen = question.first_affordable(candidates, rank, &wanted)?;
        Ok(vec![chosen.choose(&choice.regions)])
    }
}

/// Where a region ends; 0 if it may lie anywhere.
fn end(region: &Region) -> Iova {
    region.at.map_or(0, |at| at.saturating_add(region.size))
}

/// Where DPDK's addresses end.
fn top(question: &WindowQuestion) -> Result<Iova, SettingProblem> {
    let set = read_top(&question.settings)?;
    let highest = question.demand.regions.iter().map(end).max().filter(|end| *end > 0);
    Ok(highest.or(set).unwrap_or(TOP_DEFAULT))
}

fn read_top(settings: &[Setting]) -> Result<Option<Iova>, SettingProblem> {
    let address = |text: &str| text.parse::<Size>().ok().map(|size| size.0).filter(|top| *top > 0);
    read(settings, TOP, AN_ADDRESS, address)
}

impl Settings for DpdkLike {
    fn describe_settings() -> Vec<SettingDescription> {
        let meaning = "where the addresses end, if no region of the demand has one";
        vec![SettingDescription::new(TOP, AN_ADDRESS, meaning).or("64T")]
    }

    fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
        problems(settings, read_top)
    }
}
