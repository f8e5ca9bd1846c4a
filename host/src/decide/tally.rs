//! What has become of a policy's decisions, counted.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;

/// Counts for one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Answers that were granted.
    pub granted: u64,
    /// Refusals.
    pub refused: u64,
    /// Answers that could not be carried out.
    pub rejected: u64,
    /// Failures to answer, by their kind.
    pub broken: BTreeMap<String, u64>,
    /// Fuel that was burned.
    pub fuel: u64,
    /// Lines that it noted beyond those that are kept.
    pub lines_dropped: u64,
    /// As a shadow: how often it said something else than what was decided.
    pub differed: u64,
    /// How often a new version of it was taken back because it broke on trial.
    pub returned: u64,
}

impl Tally {
    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        let answered = [self.granted, self.refused, self.rejected];
        answered.into_iter().chain(self.broken.values().copied()).fold(0, u64::saturating_add)
    }
}

/// Counts of policies by name, in the text format that Prometheus reads.
#[must_use]
pub fn metrics<'a>(policies: impl Iterator<Item = (&'a str, Tally, bool)> + Clone) -> String {
    let mut text = String::new();
    head(&mut text, "tce_policy_decisions_total", "counter", "Decisions, by what came of them.");
    for (name, tally, _) in policies.clone() {
        let outcomes =
            [("granted", tally.granted), ("refused", tally.refused), ("rejected", tally.rejected)];
        let broken = tally.broken.values().copied().fold(0, u64::saturating_add);
        for (outcome, count) in outcomes.into_iter().chain([("broken", broken)]) {
            let labels = [("policy", name), ("outcome", outcome)];
            sample(&mut text, "tce_policy_decisions_total", &labels, count);
        }
    }
    head(&mut text, "tce_policy_broken_total", "counter", "Decisions without an answer, by why.");
    for (name, tally, _) in policies.clone() {
        for (kind, count) in &tally.broken {
            let labels = [("policy", name), ("kind", kind.as_str())];
            sample(&mut text, "tce_policy_broken_total", &labels, *count);
        }
    }
    type Count = fn(&Tally, bool) -> u64;
    let others: [(&str, &str, &str, Count); 5] = [
        ("tce_policy_fuel_total", "counter", "Fuel that was burned.", |it, _| it.fuel),
        ("tce_policy_lines_dropped_total", "counter", "Lines noted beyond those kept.", |it, _| {
            it.lines_dropped
        }),
        ("tce_policy_differed_total", "counter", "Answers of a shadow that differed.", |it, _| {
            it.differed
        }),
        ("tce_policy_returned_total", "counter", "New versions that were taken back.", |it, _| {
            it.returned
        }),
        ("tce_policy_ejected", "gauge", "1 if the policy is asked no more.", |_, ejected| {
            u64::from(ejected)
        }),
    ];
    for (metric, kind, help, count) in others {
        head(&mut text, metric, kind, help);
        for (name, tally, ejected) in policies.clone() {
            sample(&mut text, metric, &[("policy", name)], count(&tally, ejected));
        }
    }
    text
}

fn head(text: &mut String, metric: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
}

fn sample(text: &mut String, metric: &str, labels: &[(&str, &str)], value: u64) {
    let labels = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value)));
    let labels: Vec<String> = labels.collect();
    let _ = writeln!(text, "{metric}{{{}}} {value}", labels.join(","));
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_each_policy_and_each_outcome() {
        let mut tally = Tally { granted: 3, refused: 1, fuel: 900, ..Tally::default() };
        tally.broken.insert("out-of-fuel".to_owned(), 2);
        assert_eq!(tally.asked(), 6);
        let text = metrics([("od\"d", tally, true)].into_iter());
        for line in [
            "tce_policy_decisions_total{policy=\"od\\\"d\",outcome=\"granted\"} 3",
            "tce_policy_decisions_total{policy=\"od\\\"d\",outcome=\"broken\"} 2",
            "tce_policy_broken_total{policy=\"od\\\"d\",kind=\"out-of-fuel\"} 2",
            "tce_policy_fuel_total{policy=\"od\\\"d\"} 900",
            "tce_policy_ejected{policy=\"od\\\"d\"} 1",
            "# TYPE tce_policy_ejected gauge",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in {text}");
        }
    }
}
