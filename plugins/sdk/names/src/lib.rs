//! A derive for what generators make of `tce:policy`: serde's traits, with names as the WIT has them.
//!
//! Generators write Rust names (`page_shifts`, `ReadWrite`) and let nobody put an attribute on a field. In a file that
//! a person writes or reads, names are the WIT's: `page-shifts`, `read-write`. What is missing counts as empty or absent
//! where there is such a value, and numbers that mean bytes or pages can be written as people write them: see
//! `tce_policy_sdk::text`.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Data, DeriveInput, Error, Field, Fields, GenericArgument, PathArguments, Type};

/// `serde::Serialize` and `serde::Deserialize` for a record or an enum of the WIT package.
#[proc_macro_derive(WitNames)]
pub fn wit_names(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// The same type once more, known to serde as a stand-in for the first.
fn expand(input: &DeriveInput) -> Result<proc_macro2::TokenStream, Error> {
    let name = &input.ident;
    let stand_in = format_ident!("{name}Names");
    let remote = name.to_string();
    let body = match &input.data {
        Data::Struct(data) => record(&stand_in, &data.fields)?,
        Data::Enum(data) => {
            let cases = data.variants.iter().map(|variant| &variant.ident);
            quote! { enum #stand_in { #(#cases),* } }
        }
        Data::Union(_) => return Err(Error::new_spanned(name, "WIT has no unions")),
    };
    Ok(quote! {
        const _: () = {
            #[derive(::serde::Serialize, ::serde::Deserialize)]
            #[serde(remote = #remote, rename_all = "kebab-case", deny_unknown_fields)]
            #body

            impl ::serde::Serialize for #name {
                fn serialize<S: ::serde::Serializer>(&self, to: S) -> ::std::result::Result<S::Ok, S::Error> {
                    #stand_in::serialize(self, to)
                }
            }

            impl<'de> ::serde::Deserialize<'de> for #name {
                fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> ::std::result::Result<Self, D::Error> {
                    #stand_in::deserialize(from)
                }
            }
        };
    })
}

fn record(stand_in: &syn::Ident, fields: &Fields) -> Result<proc_macro2::TokenStream, Error> {
    let Fields::Named(fields) = fields else {
        return Err(Error::new_spanned(fields, "a WIT record has named fields"));
    };
    let fields = fields.named.iter().map(field);
    Ok(quote! { struct #stand_in { #(#fields),* } })
}

fn field(field: &Field) -> proc_macro2::TokenStream {
    let (name, of) = (&field.ident, &field.ty);
    let default = outermost(of).filter(|outer| outer == "Option" || outer == "Vec");
    let default = default.map(|_| quote! { #[serde(default)] });
    let reader = reader(of).map(|path| quote! { #[serde(deserialize_with = #path)] });
    quote! { #default #reader #name: #of }
}

/// What reads a field whose numbers people write in more than one way. Generators keep the WIT's names of types.
fn reader(of: &Type) -> Option<String> {
    let inner = inner(of).and_then(outermost);
    let (outer, unit) = (outermost(of)?, inner.unwrap_or_default());
    let function = match (outer.as_str(), unit.as_str()) {
        ("Bytes" | "Iova" | "u64", _) => "number",
        ("PageShift", _) => "page",
        ("Option", "Bytes" | "Iova" | "u64") => "maybe_number",
        ("Vec", "PageShift") => "pages",
        _ => return None,
    };
    Some(format!("::tce_policy_sdk::text::{function}"))
}

/// The last name of a type's path.
fn outermost(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_token_stream().to_string())
}

/// What a type with one parameter holds.
fn inner(of: &Type) -> Option<&Type> {
    let Type::Path(path) = of else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}
