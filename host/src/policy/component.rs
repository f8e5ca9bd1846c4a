//! Asking a component, in this process.

use wasmtime::{
    AsContextMut, Store,
    component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower},
};

use super::{
    evaluator::{Broken, Evaluation, Evaluator, Identity, Log},
    interface::Export,
    limits::{SETTING_BYTES_MAX, SETTINGS_MAX},
    load::{LoadError, LoadedPolicy},
    pool::Place,
    question::{Callee, Function, Question, Reply, Visitor},
    shown,
    store::{self, State},
    ticker,
    wit::{Setting, SettingDescription, SettingProblem},
};

/// The functions of the interface `settings`.
pub(super) const DESCRIBE_SETTINGS: &str = "describe-settings";
pub(super) const VALIDATE_SETTINGS: &str = "validate-settings";

/// A component in a store of its own, for one decision. The store goes before its place does.
struct Running<'a> {
    policy: &'a LoadedPolicy,
    store: Store<State>,
    instance: Instance,
    _place: Place<'a>,
    _clock: ticker::Watched<'a>,
}

impl LoadedPolicy {
    /// Starts it once and looks at the type of each function, so that what can never work is found at load.
    pub(super) fn try_out(&self) -> Result<(), LoadError> {
        let mut running = self.start().map_err(LoadError::DoesNotStart)?;
        for function in Function::ALL {
            let other = |what| LoadError::OtherType {
                interface: Export::Point(function.interface()),
                what: format!("{function}: {what}"),
            };
            function.visit(&mut running).map_err(other)?;
        }
        if self.exports.describe_settings.is_some() || self.exports.validate_settings.is_some() {
            let other = |what| LoadError::OtherType { interface: Export::Settings, what };
            running.check_settings_type().map_err(other)?;
        }
        Ok(())
    }

    /// Evaluates, and goes on with what came of it while the store is still there: making it ready for the next decision
    /// is work for which nobody has to wait.
    pub(super) fn evaluate_and<R>(
        &self,
        question: &Question,
        then: impl FnOnce(Evaluation) -> R,
    ) -> R {
        let function = question.function();
        if !self.answers(function) {
            let result = Err(Broken::NotImplemented { function });
            return then(Evaluation { result, fuel: Some(0), log: Log::default() });
        }
        let budget = self.limits().fuel;
        match self.start() {
            Ok(mut running) => {
                let result = question.put_to(&mut running);
                // What a trap leaves of the fuel is not exact.
                let left = result.as_ref().ok().and_then(|_| running.store.get_fuel().ok());
                let fuel = Some(budget.saturating_sub(left.unwrap_or(0)));
                let log = running.store.data_mut().take_log();
                then(Evaluation { result, fuel, log }.with_short_detail())
            }
            Err(broken) => {
                then(Evaluation { result: Err(broken), fuel: Some(budget), log: Log::default() })
            }
        }
    }

    /// Whether the interface, in the version that it was built for, has this function.
    fn should_have(&self, function: Function) -> bool {
        let point = Export::Point(function.interface());
        let exported = self.interfaces().iter().find(|each| each.interface == point);
        exported.is_some_and(|each| each.version >= function.since())
    }

    /// A fresh store and the component in it.
    fn start(&self) -> Result<Running<'_>, Broken> {
        let at_start = |error| store::broken_at_start(&error, self.limits());
        let place = self.pool.place();
        let clock = self.ticker.run();
        let mut store = store::fresh(self.pre.engine(), self.limits()).map_err(at_start)?;
        let instance = self.pre.instantiate(&mut store).map_err(at_start)?;
        Ok(Running { policy: self, store, instance, _place: place, _clock: clock })
    }

    fn ask_about_settings<P: Lower + ComponentNamedList, R: Lift + 'static>(
        &self,
        at: ComponentExportIndex,
        arguments: P,
    ) -> Result<R, Broken> {
        self.start()?.call_at(at, arguments)
    }
}

impl Callee for Running<'_> {
    type Error = Broken;

    fn call<P: Lower + ComponentNamedList, R: Reply>(
        &mut self,
        function: Function,
        arguments: P,
    ) -> Result<R, Broken> {
        let at = self.policy.exports.functions.get(&function).copied();
        self.call_at(at.ok_or(Broken::NotImplemented { function })?, arguments)
    }
}

/// Whether a function has the type that the WIT gives it.
impl Visitor for Running<'_> {
    type Outcome = Result<(), String>;

    fn visit<P: Lower + ComponentNamedList, R: Reply>(
        &mut self,
        function: Function,
    ) -> Self::Outcome {
        match self.policy.exports.functions.get(&function).copied() {
            Some(at) => self.has_type::<P, (R,)>(at),
            None if self.policy.should_have(function) => Err("it is not there".to_owned()),
            None => Ok(()),
        }
    }
}

impl Evaluator for LoadedPolicy {
    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn answers(&self, function: Function) -> bool {
        self.exports.functions.contains_key(&function)
    }

    fn describe_settings(&self) -> Result<Option<Vec<SettingDescription>>, Broken> {
        let asked = self.exports.describe_settings.map(|at| self.ask_about_settings(at, ()));
        let mut described: Option<Vec<SettingDescription>> = asked.transpose()?;
        if let Some(all) = &mut described {
            all.truncate(SETTINGS_MAX);
            for SettingDescription { key, values, meaning, default } in all {
                let texts = [key, values, meaning].into_iter().chain(default);
                texts.for_each(|text| shown::sentence(text, SETTING_BYTES_MAX));
            }
        }
        Ok(described)
    }

    fn validate_settings(&self, settings: &[Setting]) -> Result<Vec<SettingProblem>, Broken> {
        let asked =
            self.exports.validate_settings.map(|at| self.ask_about_settings(at, (settings,)));
        let mut problems: Vec<SettingProblem> = asked.transpose()?.unwrap_or_default();
        for SettingProblem { key, detail } in &mut problems {
            [key, detail].into_iter().for_each(|text| shown::sentence(text, SETTING_BYTES_MAX));
        }
        Ok(problems)
    }

    fn evaluate(&self, question: &Question) -> Evaluation {
        self.evaluate_and(question, |evaluation| evaluation)
    }
}

impl Running<'_> {
    fn call_at<P: Lower + ComponentNamedList, R: Lift + 'static>(
        &mut self,
        at: ComponentExportIndex,
        arguments: P,
    ) -> Result<R, Broken> {
        let broken = |error| store::broken(&error, self.policy.limits());
        let function = self.instance.get_typed_func::<P, (R,)>(&mut self.store, at);
        let result = function.and_then(|it| it.call(self.store.as_context_mut(), arguments));
        result.map(|(answer,)| answer).map_err(broken)
    }

    fn check_settings_type(&mut self) -> Result<(), String> {
        let exports = &self.policy.exports;
        if let Some(at) = exports.describe_settings {
            self.has_type::<(), (Vec<SettingDescription>,)>(at)?;
        }
        if let Some(at) = exports.validate_settings {
            self.has_type::<(&[Setting],), (Vec<SettingProblem>,)>(at)?;
        }
        Ok(())
    }

    fn has_type<P, R>(&mut self, at: ComponentExportIndex) -> Result<(), String>
    where
        P: Lower + ComponentNamedList,
        R: Lift + ComponentNamedList + 'static,
    {
        let found = self.instance.get_typed_func::<P, R>(&mut self.store, at);
        found.map(|_| ()).map_err(|error| format!("{error:#}"))
    }
}
