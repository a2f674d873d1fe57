//! `#[cached]`: one value per call.
//!
//! A free function `load` gets a `struct load {}` beside it, which lives among the
//! types, where the function does not: `load::get(..)` and so on. In `impl` blocks
//! there can be no struct: methods `load_entry`, `load_refresh` and
//! `load_original` stand beside it.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Result, Signature};

use crate::function::{Function, mentions_self, turbofish};
use crate::options::Options;

pub(crate) fn expand(options: Options, item: ItemFn) -> Result<Tokens> {
    let function = Function::new(item, &options)?;
    check(&options, &function)?;
    let code = Code { options, function };
    Ok(if code.is_method() { code.method() } else { code.free() })
}

fn check(options: &Options, function: &Function) -> Result<()> {
    if let Some(receiver) = &function.receiver {
        let skipped = options.skip.iter().any(|name| name == "self");
        let named = options.key.iter().flatten().any(mentions_self);
        if !skipped && !named {
            let why = "two instances would share their entries: say what of `self` is in the key, \
                as in `key = (self.tenant, id)`, or `skip(self)` if they may";
            return Err(Error::new(receiver.span(), why));
        }
    }
    if let Some(choice) = &options.cache_none
        && choice.value
    {
        let why = "`None` is cached anyway: `cache_none = false` keeps it out";
        return Err(Error::new(choice.span(), why));
    }
    if let (Some(_), Some(place)) = (&options.key_generator, &options.to_str) {
        let why = "`to_str` is for the format that is built in; a `key_generator` has its own way";
        return Err(Error::new(place.span(), why));
    }
    Ok(())
}

/// A function with its options, on its way to become code.
pub(crate) struct Code {
    pub(crate) options: Options,
    pub(crate) function: Function,
}

impl Code {
    fn is_method(&self) -> bool {
        self.function.receiver.is_some() || self.options.associated
    }

    pub(crate) fn dogpile(&self) -> &Tokens {
        &self.options.dogpile
    }

    /// The key, where the arguments' names are references to them.
    fn key(&self, name: &Tokens) -> Tokens {
        let dogpile = self.dogpile();
        let Options { region, key, .. } = &self.options;
        let (namespace, generator) = self.namespace_and_generator();
        let mut parts: Vec<Tokens> = Vec::new();
        if let Some(key) = key {
            for expression in key {
                let text = quote!(#expression).to_string();
                let part = self.part(quote!(&(#expression)), expression.span());
                parts.push(quote!((#text, &#part)));
            }
        } else {
            for argument in self.function.keyed() {
                let (ident, text) = (&argument.name, argument.name.unraw().to_string());
                let part = self.part(quote!(#ident), argument.name.span());
                parts.push(quote!((#text, &#part)));
            }
        }
        for param in self.function.keyed_generics().type_params() {
            let (ident, text) = (&param.ident, param.ident.to_string());
            parts.push(quote!((#text, &#dogpile::__macro::type_part::<#ident>())));
        }
        quote! {
            {
                #[allow(unused_imports)]
                use #dogpile::__macro::{HasDisplay as _, HasKeyPart as _, HasNothing as _};
                #dogpile::__macro::key(
                    &#region,
                    &#dogpile::key::FunctionKey::new(#name, #namespace, &[#(#parts),*]),
                    #generator,
                )
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

    /// The part of a key for a reference to an argument.
    pub(crate) fn part(&self, value: Tokens, span: Span) -> Tokens {
        let dogpile = self.dogpile();
        let value = match &self.options.to_str {
            Some(to_str) => quote!(&#to_str(#value)),
            None => value,
        };
        quote_spanned!(span=> (&&&#dogpile::__macro::Argument(#value)).way().part(#value))
    }

    /// The name in the key, for a function of this module.
    pub(crate) fn free_name(&self) -> Tokens {
        let text = self.function.name().unraw().to_string();
        let own = self.options.name.as_ref().map(|name| quote!(#name));
        own.unwrap_or_else(|| quote!(::core::concat!(::core::module_path!(), ":", #text)))
    }

    fn method_name(&self) -> Tokens {
        let text = self.function.name().unraw().to_string();
        let of_type = quote!(&::std::format!("{}:{}", ::core::any::type_name::<Self>(), #text));
        self.options.name.as_ref().map_or(of_type, |name| quote!(#name))
    }

    /// The region's entry for `key`, with the options about time.
    fn entry(&self, key: &Tokens) -> Tokens {
        let dogpile = self.dogpile();
        let (region, times) = (&self.options.region, self.times());
        let entry = if self.function.is_async() {
            quote!(#dogpile::Region::entry(&#region, #key))
        } else {
            quote!(#dogpile::Region::blocking(&#region).entry(#key))
        };
        quote!(#entry #times)
    }

    /// The options about time.
    pub(crate) fn times(&self) -> Tokens {
        let Options { expiration, stale_limit, wait_limit, on_timeout, .. } = &self.options;
        let expiration = expiration.as_ref().map(|time| quote!(.expiration(#time)));
        let stale_limit = stale_limit.as_ref().map(|time| quote!(.stale_limit(#time)));
        let wait_limit = wait_limit.as_ref().map(|time| quote!(.wait_limit(#time)));
        let on_timeout = on_timeout.as_ref().map(|then| quote!(.on_timeout(#then)));
        quote!(#expiration #stale_limit #wait_limit #on_timeout)
    }

    /// `.should_cache(..)`, if anything is to be kept out.
    fn veto(&self) -> Tokens {
        let dogpile = self.dogpile();
        let value = self.function.value(dogpile);
        let some =
            self.options.cache_none.as_ref().map(|_| quote!(#dogpile::__macro::is_some::<#value>));
        let own = self.options.should_cache.as_ref();
        let own = own.map(|own| quote!(#dogpile::__macro::check::<#value, _>(#own)));
        match (some, own) {
            (None, None) => Tokens::new(),
            (Some(one), None) | (None, Some(one)) => quote!(.should_cache(#one)),
            (Some(some), Some(own)) => {
                quote!(.should_cache(|value: &#value| #some(value) && #own(value)))
            }
        }
    }

    pub(crate) fn waiting(&self) -> Tokens {
        if self.function.is_async() { quote!(.await) } else { Tokens::new() }
    }

    pub(crate) fn asyncness(&self) -> Tokens {
        if self.function.is_async() { quote!(async) } else { Tokens::new() }
    }

    /// An alias of `Result` by another name would have its errors cached.
    fn guard(&self) -> Tokens {
        if self.function.can_fail {
            return Tokens::new();
        }
        let (dogpile, returned) = (self.dogpile(), &self.function.returned);
        let why = "this type is a `Result` by another name: add `fallible` to `#[cached(..)]`, so \
            that errors are not cached";
        let check = quote! {
            #[allow(unused_imports)]
            use #dogpile::__macro::NoResult as _;
            ::core::assert!(!#dogpile::__macro::Returned::<#returned>::IS_RESULT, #why);
        };
        let is_known = self.function.item.sig.generics.params.is_empty() && !self.is_method();
        if is_known { quote!(const _: () = { #check };) } else { quote!(const { #check }) }
    }

    /// The call that takes what is there, or runs `original`.
    fn get_or_create(&self, key: &Tokens, original: &Tokens) -> Tokens {
        let (entry, veto, waiting) = (self.entry(key), self.veto(), self.waiting());
        let background = self.options.background.then(|| quote!(.background()));
        let can_fail = self.function.can_fail;
        let method =
            format_ident!("{}", if can_fail { "try_get_or_create" } else { "get_or_create" });
        quote!(#entry #veto #background .#method(#original) #waiting)
    }

    fn refresh(&self, key: &Tokens, original: &Tokens) -> Tokens {
        let (entry, veto, waiting) = (self.entry(key), self.veto(), self.waiting());
        let method =
            format_ident!("{}", if self.function.can_fail { "try_refresh" } else { "refresh" });
        quote!(#entry #veto .#method(#original) #waiting)
    }

    /// The function's signature with plain names for its arguments.
    pub(crate) fn signature(&self, name: &Ident) -> Signature {
        let mut signature = self.function.item.sig.clone();
        signature.ident = name.clone();
        let mut names = self.function.arguments.iter().map(|argument| &argument.name);
        for input in &mut signature.inputs {
            if let syn::FnArg::Typed(typed) = input
                && let Some(name) = names.next()
            {
                *typed.pat = syn::parse_quote!(#name);
            }
        }
        signature
    }

    /// The function itself under another name.
    pub(crate) fn original(&self, name: &Ident) -> Signature {
        Signature { ident: name.clone(), ..self.function.item.sig.clone() }
    }

    /// The code for a function that stands for itself.
    fn free(&self) -> Tokens {
        let function = &self.function;
        let (name, vis, dogpile) = (function.name(), &function.item.vis, self.dogpile());
        let (attrs, body) = (function.attributes(), &function.item.block);
        let (conditions, lints, guard) = (function.conditions(), function.lints(), self.guard());
        let (value, asyncness) = (function.value(dogpile), self.asyncness());
        let generics = function.keyed_generics();
        let (params, clause) = (&generics.params, &generics.where_clause);
        let keyed: Vec<_> = function.keyed().collect();
        let names: Vec<_> = keyed.iter().map(|argument| &argument.name).collect();
        let types: Vec<_> = keyed.iter().map(|argument| &argument.ty).collect();
        let (all, turbofish_all) = (function.names(), function.turbofish());
        let turbofish = turbofish(&generics);
        let original = quote!(move || #name::original #turbofish_all(#(#all),*));
        let [local, given] = ["key", "value"].map(hygienic);
        let make_key = quote!(let #local = #name::make_key #turbofish(#(&#names),*););
        let (key, key_str) = (self.key(&self.free_name()), quote!(#local.as_str()));
        let (call, refresh) =
            (self.get_or_create(&key_str, &original), self.refresh(&key_str, &original));
        let (entry, waiting) = (self.entry(&key_str), self.waiting());
        let signature = self.signature(name);
        let original = self.original(&format_ident!("original"));
        let refreshing = self.signature(&format_ident!("refresh"));
        let about = format!("The cache of [`{name}()`](fn@{name}).");
        quote! {
            #(#attrs)*
            #vis #signature {
                #guard
                #make_key
                #call
            }

            #(#conditions)*
            #[doc = #about]
            #[allow(non_camel_case_types, missing_debug_implementations, unreachable_pub)]
            #vis struct #name {}

            #(#conditions)*
            impl #name {
                /// The function itself, past the cache.
                #(#lints)*
                #[allow(dead_code)]
                #vis #original #body
            }

            #(#conditions)*
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            impl #name {
                /// Makes the value anew, whatever is stored, and stores it.
                #vis #refreshing {
                    #make_key
                    #refresh
                }

                /// The stored value, if it is fresh.
                #vis #asyncness fn get<#params>(#(#names: #types),*)
                    -> #dogpile::Result<::core::option::Option<#value>> #clause
                {
                    #make_key
                    #entry.get::<#value>() #waiting
                }

                /// Stores a value.
                #vis #asyncness fn set<#params>(#given: &#value, #(#names: #types),*)
                    -> #dogpile::Result<()> #clause
                {
                    #make_key
                    #entry.set::<#value>(#given) #waiting
                }

                /// Removes the stored value.
                #vis #asyncness fn invalidate<#params>(#(#names: #types),*)
                    -> #dogpile::Result<()> #clause
                {
                    #make_key
                    #entry.delete() #waiting
                }

                /// The key of a call with these arguments.
                #vis fn key<#params>(#(#names: #types),*) -> ::std::string::String #clause {
                    #make_key
                    #key_str.into()
                }

                fn make_key<#params>(#(#names: &#types),*) -> #dogpile::__macro::Key #clause
                    #key
            }
        }
    }

    /// The code for a function in an `impl` block.
    fn method(&self) -> Tokens {
        let function = &self.function;
        let (name, vis, dogpile) = (function.name(), &function.item.vis, self.dogpile());
        let (attrs, body) = (function.attributes(), &function.item.block);
        let (conditions, lints, guard) = (function.conditions(), function.lints(), self.guard());
        let generics = function.keyed_generics();
        let (params, clause) = (&generics.params, &generics.where_clause);
        let keyed: Vec<_> = function.keyed().collect();
        let names: Vec<_> = keyed.iter().map(|argument| &argument.name).collect();
        let types: Vec<_> = keyed.iter().map(|argument| &argument.ty).collect();
        let (all, turbofish_all) = (function.names(), function.turbofish());
        let turbofish = turbofish(&generics);
        let bare = name.unraw();
        let [original_name, refresh_name, entry_name, key_name] =
            ["original", "refresh", "entry", "key"].map(|what| format_ident!("{bare}_{what}"));
        let own = function.receiver.as_ref();
        let (receiver, owner, lifetime) = match own {
            Some(_) => (quote!(&self,), quote!(self.), quote!('_)),
            None => (Tokens::new(), quote!(Self::), quote!('static)),
        };
        let original = quote!(move || #owner #original_name #turbofish_all(#(#all),*));
        let local = hygienic("key");
        let make_key = quote!(let #local = #owner #key_name #turbofish(#(&#names),*););
        let (key, key_str) = (self.key(&self.method_name()), quote!(#local.as_str()));
        let (call, refresh) =
            (self.get_or_create(&key_str, &original), self.refresh(&key_str, &original));
        let kind = if self.options.local { quote!(Local) } else { quote!(Serde) };
        let entry_type = if function.is_async() { quote!(Entry) } else { quote!(BlockingEntry) };
        let entry = self.entry(&quote!(::std::string::String::from(#key_str)));
        let signature = self.signature(name);
        let original = self.original(&original_name);
        let refreshing = self.signature(&refresh_name);
        let about =
            format!("The entry of [`{name}`](Self::{name}) in its region, for these arguments.");
        quote! {
            #(#attrs)*
            #vis #signature {
                #guard
                #make_key
                #call
            }

            /// The function itself, past the cache.
            #(#conditions)* #(#lints)*
            #[allow(dead_code)]
            #vis #original #body

            /// Makes the value anew, whatever is stored, and stores it.
            #(#conditions)*
            #[allow(dead_code)]
            #vis #refreshing {
                #make_key
                #refresh
            }

            #(#conditions)*
            #[doc = #about]
            #[allow(dead_code)]
            #vis fn #entry_name<#params>(#receiver #(#names: #types),*)
                -> #dogpile::#entry_type<#lifetime, #dogpile::#kind> #clause
            {
                #make_key
                #entry
            }

            #(#conditions)*
            #[allow(dead_code, clippy::all, clippy::pedantic)]
            fn #key_name<#params>(#receiver #(#names: &#types),*) -> #dogpile::__macro::Key #clause
                #key
        }
    }
}

/// A name of ours that meets none of the function's.
pub(crate) fn hygienic(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
