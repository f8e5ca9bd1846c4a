//! The macro that turns a unit struct into a component.

/// Exports the interfaces that a type implements: `export_policy!(MyPolicy: PageSelection, WindowSizing)`.
///
/// The names after the colon are the traits' own: `PageSelection`, `WindowSizing`, `LeasePolicy`. One line in a crate,
/// with all the interfaces that the component shall have. It has an effect on wasm32 only.
#[macro_export]
macro_rules! export_policy {
    ($policy:ident: $($interface:ident),+ $(,)?) => {
        $(
            // Native builds link several policies side by side; their exports would collide.
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                $crate::__export_interface!($policy $interface);
            };
        )+
    };
}

/// One interface's part of [`export_policy!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    ($policy:ident PageSelection) => {
        $crate::bindings::page_selector::export_page_selection!(
            $policy with_types_in $crate::bindings::page_selector
        );
    };
    ($policy:ident WindowSizing) => {
        $crate::bindings::window_sizer::export_window_sizing!(
            $policy with_types_in $crate::bindings::window_sizer
        );
    };
    ($policy:ident LeasePolicy) => {
        $crate::bindings::lease_keeper::export_lease_policy!(
            $policy with_types_in $crate::bindings::lease_keeper
        );
    };
    ($policy:ident $other:ident) => {
        compile_error!(concat!(
            "there is no interface `",
            stringify!($other),
            "`: only PageSelection, WindowSizing, LeasePolicy"
        ));
    };
}
