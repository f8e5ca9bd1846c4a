//! Looking up settings and hints.

use crate::{
    lease_policy::{AdmitQuestion, GroupLossQuestion, ReclaimQuestion, RenewQuestion},
    page_selection::PageQuestion,
    types::{ContainerFacts, Demand, Lease, LeaseRequest, Region, Window},
    window_sizing::{GrowthQuestion, WindowQuestion},
};

macro_rules! lookup {
    ($($what:ty: $list:ident, $method:ident, $doc:literal;)+) => {
        $(
            impl $what {
                #[doc = $doc]
                #[must_use]
                pub fn $method(&self, key: &str) -> Option<&str> {
                    self.$list.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
                }
            }
        )+
    };
}

lookup! {
    PageQuestion: settings, setting, "What the operator set under this key.";
    WindowQuestion: settings, setting, "What the operator set under this key.";
    GrowthQuestion: settings, setting, "What the operator set under this key.";
    AdmitQuestion: settings, setting, "What the operator set under this key.";
    RenewQuestion: settings, setting, "What the operator set under this key.";
    ReclaimQuestion: settings, setting, "What the operator set under this key.";
    GroupLossQuestion: settings, setting, "What the operator set under this key.";
    ContainerFacts: hints, hint, "What the host knows of the container under this key.";
    Demand: hints, hint, "What the demand says under this key.";
    Region: hints, hint, "What is known of the region under this key.";
    Window: hints, hint, "What is known of the window under this key.";
    LeaseRequest: hints, hint, "What the request says under this key.";
    Lease: hints, hint, "What the lease's request said under this key.";
}

#[cfg(test)]
mod tests {
    use crate::types::{Demand, Hint, IovaChoice};

    #[test]
    fn the_first_entry_of_a_key_counts() {
        let hint = |key: &str, value: &str| Hint { key: key.to_owned(), value: value.to_owned() };
        let demand = Demand {
            regions: vec![],
            growth: 0,
            device_mask: u64::MAX,
            iova_choice: IovaChoice::Engine,
            hints: vec![hint("ring-size", "256"), hint("ring-size", "512")],
        };
        assert_eq!(demand.hint("ring-size"), Some("256"));
        assert_eq!(demand.hint("ring"), None);
    }
}
