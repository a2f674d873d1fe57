//! The key of a call: its function's name, and a part for each argument.

use proc_macro2::{Ident, Span, TokenStream as Tokens};
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, GenericParam, Type};

use super::Code;
use crate::hygiene::{hygienic, own_ident, own_span};
use crate::options::Options;
use crate::part::Parts;

impl Code {
    /// The code that writes the key `into` an expression of a `&mut Key`, where the arguments'
    /// names are references to them. `name` is an expression of a reference to a
    /// `KeyName`.
    pub(super) fn write_key(&self, name: &Tokens, into: &Tokens) -> Tokens {
        let dogpile = self.dogpile();
        let Options { region, key, .. } = &self.options;
        let (namespace, generator) = self.namespace_and_generator();
        let mut parts: Vec<(String, Tokens)> = Vec::new();
        if let Some(key) = key {
            for expression in key {
                let text = quote!(#expression).to_string();
                let part = self.part(None, &quote!(&(#expression)), expression.span());
                parts.push((text, part));
            }
        } else {
            for argument in self.function.keyed() {
                let text = argument.name.unraw().to_string();
                let ident = own_ident(&argument.name);
                let part = self.part(Some(&argument.ty), &quote!(#ident), argument.name.span());
                parts.push((text, part));
            }
        }
        for param in self.function.generics_of_key() {
            match param {
                GenericParam::Type(param) => {
                    let (ident, text) = (&param.ident, param.ident.to_string());
                    parts.push((text, quote!(#dogpile::__macro::type_part::<#ident>())));
                }
                GenericParam::Const(param) => {
                    let (ident, text) = (&param.ident, param.ident.to_string());
                    parts.push((text, quote!(#ident)));
                }
                GenericParam::Lifetime(_) => {}
            }
        }
        let (texts, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let [given_name, given_namespace, given_generator] =
            ["name", "namespace", "generator"].map(hygienic);
        let names: Vec<Ident> =
            (0..parts.len()).map(|index| hygienic(&format!("part_{index}"))).collect();
        let own = quote!(#dogpile::__macro);
        // The types of the parts are known here: each is written without a detour.
        quote! {
            {
                use #own::{HasDisplay as _, HasElements as _, HasKeyPart as _, HasNothing as _};
                match (#name, #namespace, #(&#parts,)*) {
                    (#given_name, #given_namespace, #(#names,)*) => match #own::generator(&#region, #generator) {
                        ::core::option::Option::None => {
                            #own::begin(#into, #given_name, #given_namespace);
                            #(#own::next(#into, #names);)*
                        }
                        ::core::option::Option::Some(#given_generator) => #own::write_generated(
                            #into,
                            #given_generator,
                            &#dogpile::key::FunctionKey::new(
                                #own::text(#given_name),
                                #given_namespace,
                                &[#((#texts, #names)),*],
                            ),
                        ),
                    },
                }
            }
        }
    }

    pub(crate) fn namespace_and_generator(&self) -> (Tokens, Tokens) {
        let option = |value: &Option<Expr>| {
            let some = value.as_ref().map(|value| quote!(::core::option::Option::Some(#value)));
            some.unwrap_or_else(|| quote!(::core::option::Option::None))
        };
        (option(&self.options.namespace), option(&self.options.key_generator))
    }

    /// The part of a key for a reference to an argument, whose type may be known.
    pub(crate) fn part(&self, ty: Option<&Type>, value: &Tokens, span: Span) -> Tokens {
        let dogpile = self.dogpile();
        let parts = Parts { dogpile, span: own_span(span) };
        match (&self.options.to_str, ty) {
            (Some(to_str), _) => quote!(#dogpile::__macro::to_str(#value, #to_str)),
            (None, Some(ty)) => parts.part(ty, value),
            (None, None) => parts.whole(value),
        }
    }

    /// The name in the key, for a function that is not in an `impl` block, `by` a type that is
    /// beside it or inside.
    pub(crate) fn free_name(&self, by: &Tokens) -> Tokens {
        let dogpile = self.dogpile();
        if let Some(name) = &self.options.name {
            return quote!(#dogpile::__macro::given(#name));
        }
        let (text, place) = (self.function.name().unraw().to_string(), self.place());
        quote! {
            {
                static NAME: #dogpile::__macro::FunctionName = #dogpile::__macro::FunctionName::new(
                    ::core::module_path!(),
                    #text,
                    ::core::concat!(::core::module_path!(), ":", #text),
                    #place,
                );
                NAME.#by()
            }
        }
    }

    /// The position of a function that a block may hide. A macro may write several at one
    /// line: the text of each is part of it.
    fn place(&self) -> Tokens {
        let digest = format!("{:08x}", self.function.digest);
        quote!(::core::concat!(::core::line!(), ":", ::core::column!(), ":", #digest))
    }

    pub(super) fn method_name(&self) -> Tokens {
        let dogpile = self.dogpile();
        let own = quote!(#dogpile::__macro::MethodName);
        let text = self.function.name().unraw().to_string();
        let place = self.place();
        let usual = || quote!(#own::of::<Self, Here>(#text, ::core::module_path!(), #place));
        let given = |name| quote!(#own::given::<Self, Here>(#name));
        let name = self.options.name.as_ref().map_or_else(usual, given);
        quote! {
            {
                struct Here;
                #name
            }
            .as_str()
        }
    }
}
