//! What wit-bindgen makes of the WIT package. The only unsafe code of a policy is in here and in what the export
//! macros expand to.
//!
//! There is one module per world with one export, not one for the world `policy`: each comes with its own export
//! macro and its own description of the component's type, so that a policy exports exactly the interfaces it
//! implements.

macro_rules! world {
    ($module:ident, $home:literal, $world:literal, $export:literal, $doc:literal, [$($derive:path),*], {$($with:tt)*}) => {
        #[doc = $doc]
        pub mod $module {
            wit_bindgen::generate!({
                path: "../../wit",
                world: $world,
                additional_derives: [$($derive),*],
                generate_unused_types: true,
                runtime_path: "::tce_policy_sdk::rt",
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $home,
                with: { $($with)* },
            });
        }
    };
}

macro_rules! bindings {
    ($($derive:path),*) => {
        world!(page_selector, "::tce_policy_sdk::bindings::page_selector", "page-selector", "export_page_selection",
            "World `page-selector`, and the types that all worlds share.", [$($derive),*], {
                "tce:policy/log@0.2.0": crate::bindings::has_log::tce::policy::log,
            });
        world!(window_sizer, "::tce_policy_sdk::bindings::window_sizer", "window-sizer", "export_window_sizing", "World `window-sizer`.", [$($derive),*], {
            "tce:policy/types@0.2.0": crate::bindings::page_selector::tce::policy::types,
            "tce:policy/log@0.2.0": crate::bindings::has_log::tce::policy::log,
        });
        world!(lease_keeper, "::tce_policy_sdk::bindings::lease_keeper", "lease-keeper", "export_lease_policy", "World `lease-keeper`.", [$($derive),*], {
            "tce:policy/types@0.2.0": crate::bindings::page_selector::tce::policy::types,
            "tce:policy/log@0.2.0": crate::bindings::has_log::tce::policy::log,
        });
        world!(has_settings, "::tce_policy_sdk::bindings::has_settings", "has-settings", "export_settings", "World `has-settings`.", [$($derive),*], {
            "tce:policy/types@0.2.0": crate::bindings::page_selector::tce::policy::types,
        });
        world!(has_log, "::tce_policy_sdk::bindings::has_log", "has-log", "export_log", "World `has-log`.", [$($derive),*], {});
    };
}

#[cfg(not(feature = "serde"))]
bindings!(Clone, PartialEq);
#[cfg(feature = "serde")]
bindings!(Clone, PartialEq, tce_policy_names::WitNames);
