//! The attributes of the crate dogpile, which re-exports and documents them.
//!
//! - `options`: what is between the attribute's parentheses;
//! - `function`: what is known of the function below it;
//! - `cached`: the code for one value per call, free and in `impl` blocks;
//! - `multi`: the code for functions of many keys;
//! - `surroundings`: what a function is in, for errors;
//! - `hygiene`: whose the names and places of generated code are;
//! - `part`: the code that writes a value into a key;
//! - `derive`: the derive macro for types that can.

#![forbid(unsafe_code)]

mod cached;
mod derive;
mod function;
mod generics;
mod hygiene;
mod multi;
mod options;
mod part;
mod surroundings;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use syn::{DeriveInput, ItemFn, parse_macro_input};

use options::Options;

#[expect(missing_docs, reason = "the crate dogpile documents it")]
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(options, item, cached::expand)
}

#[expect(missing_docs, reason = "the crate dogpile documents it")]
#[proc_macro_attribute]
pub fn cached_multi(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(options, item, multi::expand)
}

#[expect(missing_docs, reason = "the crate dogpile documents it")]
#[proc_macro_derive(KeyPart, attributes(key_part))]
pub fn key_part(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive::expand(input).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(
    options: TokenStream,
    item: TokenStream,
    make: fn(Options, ItemFn) -> syn::Result<Tokens>,
) -> TokenStream {
    let whole: Tokens = options.into();
    let function = parse_macro_input!(item as ItemFn);
    // With an error the function itself stays, so that its callers do not add
    // errors of their own.
    let kept = function.clone();
    let made = Options::parse(whole).and_then(|options| make(options, function));
    made.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote::quote!(#error #kept)
    })
    .into()
}
