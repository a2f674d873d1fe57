//! Functions that are given the value of before: callers do not pass that argument.

use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, Signature};

use super::Code;
use crate::function::Argument;
use crate::hygiene::{at, hygienic, own_ident};

impl Code {
    /// The function's signature as its callers see it.
    pub(crate) fn called(&self, name: &Ident) -> Signature {
        let mut signature = self.signature(name);
        let mut arguments = self.function.arguments.iter();
        let is_passed = |input: &FnArg| match input {
            FnArg::Receiver(_) => true,
            FnArg::Typed(_) => !arguments.next().is_some_and(|argument| argument.is_previous),
        };
        signature.inputs = signature.inputs.into_iter().filter(is_passed).collect();
        signature
    }

    /// What is passed to the function itself, where the creator was given the value of before.
    pub(super) fn passed(&self) -> Vec<Tokens> {
        let arguments = self.function.arguments.iter();
        arguments
            .map(|argument| {
                let name = own_ident(&argument.name);
                if argument.is_previous { self.taken(argument) } else { quote!(#name) }
            })
            .collect()
    }

    /// The value of before, in the form in which the function takes it.
    pub(super) fn taken(&self, argument: &Argument) -> Tokens {
        let (ty, span, previous) = (&argument.ty, argument.ty.span(), hygienic("previous"));
        let (value, dogpile) = (self.value(), at(span, self.dogpile()));
        quote_spanned! {span=>
            <#ty as #dogpile::__macro::Previous<#value>>::from_previous(#previous)
        }
    }

    /// The arguments of a creator: the value of before, if the function takes that.
    pub(super) fn given(&self) -> Tokens {
        if self.function.previous().is_none() {
            return Tokens::new();
        }
        let (ty, previous) = (self.previous_type(), hygienic("previous"));
        quote!(#previous: #ty)
    }

    /// A creator that is given no value of before.
    pub(super) fn unconditional(&self, creator: &Tokens) -> Tokens {
        if self.function.previous().is_none() {
            return creator.clone();
        }
        quote!({
            let creator = #creator;
            move || creator(::core::option::Option::None)
        })
    }

    fn previous_type(&self) -> Tokens {
        let (dogpile, value) = (self.dogpile(), self.value());
        quote!(::core::option::Option<#dogpile::CachedValue<#value>>)
    }
}
