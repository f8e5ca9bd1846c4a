//! Asking a component, in this process.

use wasmtime::{AsContextMut, Store, component::Instance};

use super::{
    evaluator::{Answer, Broken, Evaluation, Evaluator},
    interface::Interface,
    load::{LoadError, LoadedPolicy},
    store::{self, State},
    wit::{
        AdmitQuestion, GroupLossQuestion, LeaseId, PageChoice, PageQuestion, ReclaimQuestion,
        RenewQuestion, Terms, WindowChoice, WindowQuestion, lease_policy, page_selection,
        window_sizing,
    },
};

impl LoadedPolicy {
    /// Starts it once and looks up what it exports, so that what can never work is found at load.
    pub(super) fn try_out(&self) -> Result<(), LoadError> {
        let (mut store, instance) = self.start().map_err(LoadError::DoesNotStart)?;
        let indices = &self.indices;
        let other = |interface| {
            move |error: wasmtime::Error| {
                let what = format!("{error:#}");
                LoadError::OtherType { interface, what }
            }
        };
        if let Some(pages) = &indices.pages {
            pages.load(&mut store, &instance).map_err(other(Interface::PageSelection))?;
        }
        if let Some(windows) = &indices.windows {
            windows.load(&mut store, &instance).map_err(other(Interface::WindowSizing))?;
        }
        if let Some(leases) = &indices.leases {
            leases.load(&mut store, &instance).map_err(other(Interface::LeasePolicy))?;
        }
        Ok(())
    }

    /// A fresh store and the component in it.
    fn start(&self) -> Result<(Store<State>, Instance), Broken> {
        let at_start = |error| store::broken_at_start(&error, self.limits());
        let mut store = store::fresh(self.pre.engine(), self.limits()).map_err(at_start)?;
        let instance = self.pre.instantiate(&mut store).map_err(at_start)?;
        Ok((store, instance))
    }

    /// One decision: start, find the interface, call, throw everything away.
    fn decide<I, A>(
        &self,
        interface: Interface,
        indices: Option<&I>,
        call: impl FnOnce(&I, &mut Store<State>, &Instance) -> wasmtime::Result<A>,
    ) -> Evaluation<A> {
        let Some(indices) = indices else {
            return Evaluation { result: Err(Broken::NotImplemented { interface }), fuel: Some(0) };
        };
        let budget = self.limits().fuel;
        let decided = self.start().and_then(|(mut store, instance)| {
            let broken = |error| store::broken(&error, self.limits());
            let answer = call(indices, &mut store, &instance).map_err(broken)?;
            let left = store.get_fuel().map_err(broken)?;
            Ok((answer, budget.saturating_sub(left)))
        });
        match decided {
            Ok((answer, fuel)) => Evaluation { result: Ok(answer), fuel: Some(fuel) },
            Err(broken) => Evaluation { result: Err(broken), fuel: Some(budget) },
        }
    }

    /// One decision of the interface about leases, which has several questions.
    fn decide_lease<A>(
        &self,
        call: impl FnOnce(&lease_policy::Guest, &mut Store<State>) -> wasmtime::Result<A>,
    ) -> Evaluation<A> {
        let leases = self.indices.leases.as_ref();
        self.decide(Interface::LeasePolicy, leases, |indices, store, instance| {
            let guest = indices.load(store.as_context_mut(), instance)?;
            call(&guest, store)
        })
    }
}

impl Evaluator for LoadedPolicy {
    fn name(&self) -> &str {
        self.name()
    }

    fn implements(&self, interface: Interface) -> bool {
        self.interfaces().iter().any(|each| each.interface == interface)
    }

    fn select_pages(&self, question: &PageQuestion) -> Evaluation<Answer<Vec<PageChoice>>> {
        let call =
            |indices: &page_selection::GuestIndices, store: &mut Store<State>, instance: &_| {
                indices.load(store.as_context_mut(), instance)?.call_select_pages(store, question)
            };
        self.decide(Interface::PageSelection, self.indices.pages.as_ref(), call).with_short_detail()
    }

    fn size_windows(&self, question: &WindowQuestion) -> Evaluation<Answer<Vec<WindowChoice>>> {
        let call =
            |indices: &window_sizing::GuestIndices, store: &mut Store<State>, instance: &_| {
                indices.load(store.as_context_mut(), instance)?.call_size_windows(store, question)
            };
        self.decide(Interface::WindowSizing, self.indices.windows.as_ref(), call)
            .with_short_detail()
    }

    fn admit(&self, question: &AdmitQuestion) -> Evaluation<Answer<Terms>> {
        self.decide_lease(|guest, store| guest.call_admit(store, question)).with_short_detail()
    }

    fn renew(&self, question: &RenewQuestion) -> Evaluation<Answer<Terms>> {
        self.decide_lease(|guest, store| guest.call_renew(store, question)).with_short_detail()
    }

    fn reclaim(&self, question: &ReclaimQuestion) -> Evaluation<Vec<LeaseId>> {
        self.decide_lease(|guest, store| guest.call_reclaim(store, question))
    }

    fn group_leaves(&self, question: &GroupLossQuestion) -> Evaluation<Vec<LeaseId>> {
        self.decide_lease(|guest, store| guest.call_group_leaves(store, question))
    }
}
