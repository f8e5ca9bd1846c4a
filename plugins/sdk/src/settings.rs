//! What an operator can set. Asked once, when the host loads the policy.

use crate::types::Setting;
pub use crate::{
    bindings::has_settings::exports::tce::policy::settings::{SettingDescription, SettingProblem},
    policy::Settings,
};

impl SettingDescription {
    /// A setting without a default. The texts are for people: what its value is, what it changes.
    #[must_use]
    pub fn new(key: &str, values: &str, meaning: &str) -> Self {
        let [key, values, meaning] = [key, values, meaning].map(str::to_owned);
        Self { key, values, meaning, default: None }
    }

    /// What holds where it is not set.
    #[must_use]
    pub fn or(self, default: &str) -> Self {
        Self { default: Some(default.to_owned()), ..self }
    }
}

impl SettingProblem {
    /// What is wrong with the setting of this key: one sentence.
    #[must_use]
    pub fn new(key: &str, detail: impl Into<String>) -> Self {
        Self { key: key.to_owned(), detail: detail.into() }
    }
}

/// All that is wrong: keys that the policy does not know, keys that stand twice, and values that it does not like.
#[must_use]
pub fn problems<P: Settings>(settings: &[Setting]) -> Vec<SettingProblem> {
    let known = P::describe_settings();
    let mut problems = Vec::new();
    for (index, setting) in settings.iter().enumerate() {
        if !known.iter().any(|each| each.key == setting.key) {
            let keys: Vec<&str> = known.iter().map(|each| each.key.as_str()).collect();
            let detail = format!("there is no such setting; there are: {}", keys.join(", "));
            problems.push(SettingProblem::new(&setting.key, detail));
        } else if settings[..index].iter().any(|each| each.key == setting.key) {
            problems.push(SettingProblem::new(&setting.key, "it is set twice"));
        }
    }
    problems.extend(P::check_settings(settings));
    problems
}

#[cfg(test)]
mod tests {
    use super::{SettingDescription, SettingProblem, Settings, problems};
    use crate::types::Setting;

    struct OneSetting;

    impl Settings for OneSetting {
        fn describe_settings() -> Vec<SettingDescription> {
            vec![SettingDescription::new("share", "a percentage", "the largest share").or("50")]
        }

        fn check_settings(settings: &[Setting]) -> Vec<SettingProblem> {
            let bad = settings.iter().filter(|each| each.value.parse::<u8>().is_err());
            bad.map(|each| SettingProblem::new(&each.key, "it is no percentage")).collect()
        }
    }

    fn keys(settings: &[(&str, &str)]) -> Vec<String> {
        let settings = settings
            .iter()
            .map(|(key, value)| Setting { key: (*key).to_owned(), value: (*value).to_owned() });
        let settings: Vec<Setting> = settings.collect();
        problems::<OneSetting>(&settings).into_iter().map(|each| each.key).collect()
    }

    #[test]
    fn unknown_keys_repeated_keys_and_bad_values_are_problems() {
        assert!(keys(&[("share", "40")]).is_empty());
        assert_eq!(keys(&[("shares", "40")]), ["shares"]);
        assert_eq!(keys(&[("share", "40"), ("share", "50")]), ["share"]);
        assert_eq!(keys(&[("share", "half")]), ["share"]);
    }
}
