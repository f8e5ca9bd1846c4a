//! What wit-bindgen makes of the WIT package. The only unsafe code of a policy is in here and in what the export
//! macros expand to.
//!
//! There is one module per world with one export, not one for the world `policy`: each comes with its own export
//! macro and its own description of the component's type, so that a policy exports exactly the interfaces it
//! implements.

macro_rules! bindings {
    ($($derive:path),*) => {
        /// World `page-selector`, and the types that all worlds share.
        pub mod page_selector {
            wit_bindgen::generate!({
                path: "../../wit",
                world: "page-selector",
                additional_derives: [$($derive),*],
                generate_unused_types: true,
                runtime_path: "::tce_policy_sdk::rt",
                pub_export_macro: true,
                export_macro_name: "export_page_selection",
                default_bindings_module: "::tce_policy_sdk::bindings::page_selector",
            });
        }

        /// World `window-sizer`.
        pub mod window_sizer {
            wit_bindgen::generate!({
                path: "../../wit",
                world: "window-sizer",
                additional_derives: [$($derive),*],
                generate_unused_types: true,
                runtime_path: "::tce_policy_sdk::rt",
                pub_export_macro: true,
                export_macro_name: "export_window_sizing",
                default_bindings_module: "::tce_policy_sdk::bindings::window_sizer",
                with: { "tce:policy/types@0.1.0": crate::bindings::page_selector::tce::policy::types },
            });
        }

        /// World `lease-keeper`.
        pub mod lease_keeper {
            wit_bindgen::generate!({
                path: "../../wit",
                world: "lease-keeper",
                additional_derives: [$($derive),*],
                generate_unused_types: true,
                runtime_path: "::tce_policy_sdk::rt",
                pub_export_macro: true,
                export_macro_name: "export_lease_policy",
                default_bindings_module: "::tce_policy_sdk::bindings::lease_keeper",
                with: { "tce:policy/types@0.1.0": crate::bindings::page_selector::tce::policy::types },
            });
        }
    };
}

#[cfg(not(feature = "serde"))]
bindings!(Clone, PartialEq);
#[cfg(feature = "serde")]
bindings!(Clone, PartialEq, serde::Serialize, serde::Deserialize);
