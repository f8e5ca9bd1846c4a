//! The macro that turns a unit struct into a component.

/// Exports the interfaces that a type implements: `export_policy!(MyPolicy: PageSelection, WindowSizing)`.
///
/// The names after the colon are the traits' own: `PageSelection`, `WindowSizing`, `LeasePolicy`, `Settings`. One line in a crate,
/// with all the interfaces that the component shall have. It has an effect on wasm32 only.
#[macro_export]
macro_rules! export_policy {
    ($policy:ident: $($interface:ident),+ $(,)?) => {
        $(
            // Native builds link several policies side by side; their exports would collide.
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                type Exported = $crate::Exported<$policy>;
                $crate::__export_interface!(Exported $interface);
            };
        )+
    };
}

/// One interface's part of [`export_policy!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    ($exported:ident PageSelection) => {
        $crate::bindings::page_selector::export_page_selection!(
            $exported with_types_in $crate::bindings::page_selector
        );
    };
    ($exported:ident WindowSizing) => {
        $crate::bindings::window_sizer::export_window_sizing!(
            $exported with_types_in $crate::bindings::window_sizer
        );
    };
    ($exported:ident LeasePolicy) => {
        $crate::bindings::lease_keeper::export_lease_policy!(
            $exported with_types_in $crate::bindings::lease_keeper
        );
    };
    ($exported:ident Settings) => {
        $crate::bindings::has_settings::export_settings!(
            $exported with_types_in $crate::bindings::has_settings
        );
    };
    ($exported:ident $other:ident) => {
        compile_error!(concat!(
            "there is no interface `",
            stringify!($other),
            "`: only PageSelection, WindowSizing, LeasePolicy, Settings"
        ));
    };
}
