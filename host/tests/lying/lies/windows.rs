//! Lies about pages and windows.

use fastrand::Rng;
use tce_host::policy::{
    Answer,
    wit::{
        Candidate, GrowthQuestion, Origin, PageChoice, PageQuestion, WindowChoice, WindowQuestion,
    },
};

use super::{Lie, absurd_windows, spoil_regions};
use crate::liar::Truth;

/// Spoils an answer to `select-pages`.
pub(super) fn pages(
    question: &PageQuestion,
    mut pages: Vec<PageChoice>,
    random: &mut Rng,
) -> Option<Lie> {
    let facts = &question.facts;
    let place = random.usize(..pages.len());
    let (truth, what) = match random.u8(..9) {
        0 => {
            pages.clear();
            (Truth::Lie, "nothing")
        }
        1 => {
            pages[place].page = *[0, 11, 13, 63, 64, 255].get(random.usize(..6))?;
            (Truth::Lie, "page unknown")
        }
        2 => {
            let regions = question.demand.regions.iter();
            let least = regions.map(|region| region.backing.min(region.granule)).min()?;
            let too_large = facts.page_shifts.iter().copied().find(|page| *page > least)?;
            let regions = question.demand.regions.iter().map(|region| region.id).collect();
            pages = vec![PageChoice { page: too_large, regions }];
            (Truth::Lie, "page too large")
        }
        3 => {
            let page = pages[place].page;
            pages.extend((0..facts.slots.len()).map(|_| PageChoice { page, regions: vec![] }));
            (Truth::Lie, "too many choices")
        }
        4 => {
            pages.push(PageChoice { page: pages[place].page, regions: vec![] });
            (Truth::Lie, "choice of nothing")
        }
        5 => {
            let regions = (0..random.u8(..9)).map(|_| random.u32(..)).collect();
            pages = vec![PageChoice { page: random.u8(..), regions }];
            // It is not likely, and possible, to guess it.
            (Truth::Perhaps, "absurd")
        }
        6 => {
            pages.iter_mut().for_each(|choice| choice.page = 12);
            (Truth::Perhaps, "smallest page")
        }
        7 => {
            let regions = pages[place].regions.pop()?;
            pages.push(PageChoice { page: 12, regions: vec![regions] });
            (Truth::Perhaps, "one by itself")
        }
        _ => (Truth::Lie, spoil_regions(&mut pages[place].regions, random)),
    };
    Some((truth, what, Answer::Pages(pages)))
}

/// Spoils an answer to `size-windows`.
pub(super) fn windows(
    question: &WindowQuestion,
    mut windows: Vec<WindowChoice>,
    random: &mut Rng,
) -> Option<Lie> {
    let place = random.usize(..windows.len());
    let window = &mut windows[place];
    let (truth, what) = match random.u8(..13) {
        0 => {
            window.size = window.size.wrapping_add_signed(if random.bool() { 1 } else { -1 });
            (Truth::Lie, "size off by one")
        }
        1 => {
            window.slot = *[2, 3, 255].get(random.usize(..3))?;
            (Truth::Lie, "slot unknown")
        }
        2 => {
            window.page += 1;
            (Truth::Lie, "page off by one")
        }
        3 => {
            window.levels = *[0, 9, 255].get(random.usize(..3))?;
            (Truth::Lie, "levels unknown")
        }
        4 => {
            window.origin = match window.origin {
                Origin::Created => Origin::DefaultWindow,
                Origin::DefaultWindow => Origin::Created,
            };
            (Truth::Lie, "other origin")
        }
        5 => {
            let page = window.page;
            let other = question.candidates.iter().find(|it| it.page != page)?;
            let regions = window.regions.clone();
            *window = choice(other, regions);
            (Truth::Lie, "page not chosen")
        }
        6 => {
            let twin = window.clone();
            windows.push(twin);
            (Truth::Lie, "window twice")
        }
        7 => {
            let empty = WindowChoice { regions: vec![], ..window.clone() };
            windows.push(empty);
            (Truth::Lie, "window for nothing")
        }
        8 => {
            windows.clear();
            (Truth::Lie, "nothing")
        }
        9 => {
            windows = absurd_windows(random);
            (Truth::Lie, "absurd")
        }
        10 | 11 => {
            let alike: Vec<&Candidate> =
                question.candidates.iter().filter(|it| it.page == window.page).collect();
            let other = alike.get(random.usize(..alike.len().max(1)))?;
            *window = choice(other, window.regions.clone());
            (Truth::Perhaps, "other candidate")
        }
        _ => (Truth::Lie, spoil_regions(&mut window.regions, random)),
    };
    Some((truth, what, Answer::Windows(windows)))
}

fn choice(candidate: &Candidate, regions: Vec<u32>) -> WindowChoice {
    WindowChoice {
        slot: candidate.slot,
        page: candidate.page,
        size: candidate.size,
        levels: candidate.levels,
        origin: candidate.origin,
        regions,
    }
}

/// Spoils an answer to `grow`.
pub(super) fn growth(question: &GrowthQuestion, honest: Candidate, random: &mut Rng) -> Lie {
    let mut window = honest;
    let what = match random.u8(..9) {
        0 => {
            window.start ^= 1;
            "start off by one"
        }
        1 => {
            window.size = window.size.wrapping_sub(1);
            "size off by one"
        }
        2 => {
            window.page += 1;
            "page off by one"
        }
        3 => {
            window.levels = window.levels.wrapping_add(9);
            "levels unknown"
        }
        4 => {
            window.charge = 0;
            "charge made up"
        }
        5 => {
            window.slot ^= 1;
            "other slot"
        }
        6 => {
            window.table = window.table.wrapping_sub(1);
            "table made up"
        }
        _ => {
            window = question.candidates[random.usize(..question.candidates.len())];
            "other candidate"
        }
    };
    let listed = question.candidates.contains(&window);
    (if listed { Truth::Perhaps } else { Truth::Lie }, what, Answer::Window(window))
}
