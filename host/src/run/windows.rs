//! Windows: decided by a policy, and made with what the operator has said of them.

use tce_engine::{
    LayoutGrant,
    layout::{Candidate, WindowChoice},
    machine::Machine,
    window::WindowId,
};

use crate::{
    exit::Failure,
    grant::{self, PageGroup, WantedLayout},
    policy::wit,
    question,
};

use super::{
    fallback,
    outcome::MadeWindow,
    plan,
    session::{Decisions, Session, conclude},
    words,
};

/// A layout that is granted, with the regions of each window.
pub(super) struct Layout {
    choices: Vec<WindowChoice>,
    pub(super) grant: LayoutGrant,
    pub(super) regions: Vec<Vec<usize>>,
}

impl<M: Machine> Session<'_, M> {
    pub(super) fn decide_windows(
        &mut self,
        decisions: &mut Decisions,
        facts: &wit::ContainerFacts,
        demand: &wit::Demand,
        pages: &[(PageGroup, wit::PageChoice)],
    ) -> Result<Layout, Failure> {
        let groups: Vec<PageGroup> = pages.iter().map(|(group, _)| group.clone()).collect();
        let candidates = {
            let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
            let candidates = layouts.candidates(&question::query(demand, &layouts));
            plan::check_holdable(self.job, &layouts, &candidates, &groups, demand)?;
            plan::check_limit(facts, &candidates)?;
            candidates
        };
        let question = wit::WindowQuestion {
            facts: facts.clone(),
            demand: demand.clone(),
            pages: pages.iter().map(|(_, choice)| choice.clone()).collect(),
            candidates: question::candidates(&candidates),
            settings: question::settings(&self.job.settings),
        };
        let (job, engine, policies) = (self.job, &mut *self.engine, self.options.policies);
        let decided = policies.decide(
            "windows",
            self.started,
            question,
            |question, answer| {
                let WantedLayout { choices, regions } = grant::layout(question, answer)?;
                let (choices, regions) = in_slot_order(choices, regions);
                Ok(Layout { grant: engine.grant_layout(&choices)?, choices, regions })
            },
            |answer| words::windows(job, answer),
        );
        conclude(decisions, decided)
    }

    /// Makes the windows of a layout, with what the operator has said of them. Tells them and their regions.
    pub(super) fn make_windows(
        &mut self,
        layout: Layout,
    ) -> Result<(Vec<MadeWindow>, Vec<Vec<usize>>), Failure> {
        let Layout { mut choices, regions, .. } = layout;
        let layouts = self.engine.layouts().ok_or(tce_engine::Error::NoBackend)?;
        fallback::add(self.job, &layouts, &mut choices, &regions)?;
        let grant = self.engine.grant_layout(&choices)?;
        let wanted = grant.windows().to_vec();
        let grant = grant.with_unused_default(self.job.unused_default);
        let ids = self.engine.create_windows(grant)?;
        let made = ids.into_iter().zip(wanted).map(|(id, wanted)| self.made(id, wanted));
        Ok((made.collect(), regions))
    }

    /// What has become of a window that was wanted.
    pub(super) fn made(&self, id: WindowId, wanted: Candidate) -> MadeWindow {
        let state = self.engine.windows().find(|state| state.window().id == id);
        let window = *state.expect("it was just made").window();
        let geometry = self.engine.facts().expect("a group is attached").geometry();
        let table = geometry.shape(window.page, window.size, window.levels);
        MadeWindow { window, table: table.unwrap_or(wanted.table), wanted: wanted.size }
    }
}

/// Grants list their windows by slot, and so must go the choices and their regions.
fn in_slot_order(
    choices: Vec<WindowChoice>,
    regions: Vec<Vec<usize>>,
) -> (Vec<WindowChoice>, Vec<Vec<usize>>) {
    let mut paired: Vec<_> = choices.into_iter().zip(regions).collect();
    paired.sort_by_key(|(choice, _)| choice.slot);
    paired.into_iter().unzip()
}
