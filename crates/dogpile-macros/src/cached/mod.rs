//! `#[cached]`: one value per call.
//!
//! A free function `load` gets a `struct load {}` beside it, which lives among the
//! types, where the function does not: `load::get(..)` and so on. In `impl` blocks
//! there can be no struct: methods `load_entry`, `load_key`, `load_refresh` and
//! `load_original` stand beside it. In a trait's `impl` there can be nothing beside it.
//!
//! `keys` writes the key of a call, `companions` what stands beside a function, `previous` the argument
//! that callers do not pass; here is the call itself.
//!
//! Everything that is made here counts as written by a macro (`own`), so that the lints of
//! the user's crate, also those that it forbids to allow, are about the user's code alone.

mod companions;
mod keys;
mod previous;

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, ItemFn, Pat, Result, Signature};

use crate::function::{Function, mentions_self, refuse_borrowed};
use crate::hygiene::{at, hygienic, own_ident};
use crate::options::Options;
use crate::surroundings::is_in_trait_impl;

pub(crate) fn expand(options: Options, item: ItemFn) -> Result<Tokens> {
    let function = Function::new(item, &options)?;
    check(&options, &function)?;
    let code = Code { options, function };
    Ok(match code.surroundings() {
        Surroundings::Alone => code.alone(),
        Surroundings::Impl => {
            code.refuse_trait_impl()?;
            code.method()
        }
        Surroundings::Module => code.free(),
    })
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
    if options.background { refuse_borrowed(function) } else { Ok(()) }
}

/// The position of a function, as far as an attribute can know.
enum Surroundings {
    Module,
    Impl,
    /// Nothing may stand beside it.
    Alone,
}

/// A function with its options, on its way to become code.
pub(crate) struct Code {
    pub(crate) options: Options,
    pub(crate) function: Function,
}

impl Code {
    fn surroundings(&self) -> Surroundings {
        if self.options.is_alone || self.function.is_boxed {
            Surroundings::Alone
        } else if self.is_method() {
            Surroundings::Impl
        } else {
            Surroundings::Module
        }
    }

    /// In a trait's `impl` the companions would be errors, one by one.
    fn refuse_trait_impl(&self) -> Result<()> {
        let Function { item, .. } = &self.function;
        let may_be = matches!(item.vis, syn::Visibility::Inherited);
        if may_be && is_in_trait_impl(&item.sig.ident) {
            let why = "nothing can stand beside a method in a trait's `impl`: add `companions = \
                false`, or cache a method of the type's own";
            return Err(Error::new(item.sig.ident.span(), why));
        }
        Ok(())
    }

    fn is_method(&self) -> bool {
        self.function.receiver.is_some() || self.options.associated
    }

    pub(crate) fn dogpile(&self) -> &Tokens {
        &self.options.dogpile
    }

    /// The region's entry for `key`, with the options about time.
    fn entry(&self, key: &Tokens) -> Tokens {
        let dogpile = self.dogpile();
        let (region, times) = (&self.options.region, self.times());
        let lifetime = self.lifetime(&self.value());
        let entry = if self.function.is_async() {
            quote!(#dogpile::Region::entry(&#region, #key))
        } else {
            quote!(#dogpile::Region::blocking(&#region).entry(#key))
        };
        quote!(#entry #times #lifetime)
    }

    /// The region, async or blocking as the function is.
    fn region(&self) -> Tokens {
        let (dogpile, region) = (self.dogpile(), &self.options.region);
        if self.function.is_async() {
            quote!(#dogpile::__macro::region(&#region))
        } else {
            quote!(#dogpile::Region::blocking(&#region))
        }
    }

    /// Is a call of the region the same as one of its entry?
    fn has_no_options(&self) -> bool {
        let has_times = !self.times().is_empty() || !self.lifetime(&self.value()).is_empty();
        !has_times && !self.options.background
    }

    /// The options about time.
    pub(crate) fn times(&self) -> Tokens {
        let own = &self.options;
        let times = [
            ("expiration", &own.expiration),
            ("stale_while_revalidate", &own.stale_while_revalidate),
            ("stale_if_error", &own.stale_if_error),
            ("retry_after", &own.retry_after),
            ("early", &own.early),
            ("soft_timeout", &own.soft_timeout),
            ("creation_timeout", &own.creation_timeout),
            ("wait_timeout", &own.wait_timeout),
        ];
        let times = times.into_iter().filter_map(|(name, time)| {
            let (name, time) = (Ident::new(name, Span::call_site()), time.as_ref()?);
            Some(quote!(.#name(#time)))
        });
        let then = own.on_wait_timeout.as_ref().map(|then| quote!(.on_wait_timeout(#then)));
        let preset = own.resilient.then(|| quote!(.resilient()));
        let jitter = own.jitter.as_ref().map(|share| quote!(.jitter(#share)));
        let share = own.share_failures.then(|| quote!(.share_failures()));
        let remember = own.remember_failures.as_ref();
        let remember = remember.map(|time| quote!(.remember_failures(#time)));
        quote!(#preset #(#times)* #jitter #then #share #remember)
    }

    /// `.lifetime(..)` for values of type `value`, if they have lifetimes of their own.
    pub(crate) fn lifetime(&self, value: &Tokens) -> Tokens {
        let (dogpile, made) = (self.dogpile(), hygienic("made"));
        let of_none = self.options.none.as_ref().map(|time| {
            quote! {
                use #dogpile::__macro::NotOptional as _;
                if !#dogpile::__macro::Presence(#made).is_there() {
                    return ::core::option::Option::Some(#time);
                }
            }
        });
        let own = self.options.lifetime.as_ref().map(|own| with_argument(own, value));
        match (of_none, own) {
            (None, None) => Tokens::new(),
            (None, Some(own)) => quote!(.lifetime::<#value>(#own)),
            (Some(of_none), None) => quote! {
                .lifetime::<#value>(move |#made: &#value| {
                    #of_none
                    ::core::option::Option::None
                })
            },
            (Some(of_none), Some(own)) => quote! {
                .lifetime::<#value>({
                    let own = #own;
                    move |#made: &#value| {
                        #of_none
                        own(#made)
                    }
                })
            },
        }
    }

    /// `.should_cache(..)`, if anything is to be kept out.
    fn veto(&self) -> Tokens {
        let dogpile = self.dogpile();
        let value = self.value();
        let span = self.function.returned.span();
        let imports = quote!(use #dogpile::__macro::NotOptional as _;);
        let (plain, dogpile) = (dogpile, at(span, dogpile));
        let some = self.options.cache_none.as_ref().map(|_| {
            quote_spanned! {span=>
                |value: &#value| {
                    #imports
                    #dogpile::__macro::Presence(value).is_there()
                }
            }
        });
        let own = self.options.should_cache.as_ref();
        let own = own.map(|own| {
            let own = with_argument(own, &value);
            let imports = quote!(use #plain::__macro::{IsDecided as _, IsUndecided as _};);
            quote_spanned! {span=>
                {
                    #imports
                    let own = #own;
                    (&&#dogpile::__macro::Decision::<#value, _>::of(&own)).way().entry::<#value, _>(own)
                }
            }
        });
        match (some, own) {
            (None, None) => Tokens::new(),
            (Some(one), None) | (None, Some(one)) => quote!(.should_cache(#one)),
            (Some(some), Some(own)) => quote! {
                .should_cache({
                    let (some, own) = (#some, #own);
                    move |value: &#value| some(value) && own(value)
                })
            },
        }
    }

    /// The type that is cached.
    fn value(&self) -> Tokens {
        self.function.value(self.dogpile())
    }

    /// `entry`, for values of the type that is cached. All that is required of that type is
    /// required here, with its place in the user's code: however often a mistake is met, it
    /// is one error.
    fn typed(&self, entry: &Tokens) -> Tokens {
        let alias = (!self.function.can_fail).then(|| quote!(IsAlias as _,));
        self.held(&self.value(), entry, &alias.unwrap_or_default())
    }

    /// `entry`, for values of type `value`.
    pub(crate) fn held(&self, value: &Tokens, entry: &Tokens, alias: &Tokens) -> Tokens {
        let (span, plain) = (self.function.returned.span(), self.dogpile());
        let dogpile = at(span, plain);
        let imports = quote!(use #plain::__macro::{#alias IsHeld as _, IsNotHeld as _};);
        quote_spanned! {span=>
            {
                #imports
                let entry = #entry;
                (&&&#dogpile::__macro::Values::<#value, _>::of(&entry)).way().entry::<#value, _>(entry)
            }
        }
    }

    /// `call`, which returns a result, as what the function returns.
    fn returning(&self, call: Tokens) -> Tokens {
        if !self.options.fallible {
            return call;
        }
        let returned = &self.function.returned;
        let dogpile = at(returned.span(), self.dogpile());
        quote_spanned! {returned.span()=>
            <#returned as #dogpile::__macro::Fallible>::from_result(#call)
        }
    }

    /// A call of the function itself, as a creator.
    fn creator(&self, call: &Tokens) -> Tokens {
        if !self.options.fallible {
            let given = self.given();
            return quote!(move |#given| #call);
        }
        let returned = &self.function.returned;
        let dogpile = at(returned.span(), self.dogpile());
        let (asyncness, waiting) = (self.asyncness(), self.waiting());
        let given = self.given();
        quote_spanned! {returned.span()=>
            #asyncness move |#given| <#returned as #dogpile::__macro::Fallible>::into_result(#call #waiting)
        }
    }

    pub(crate) fn waiting(&self) -> Tokens {
        if self.function.is_async() { quote!(.await) } else { Tokens::new() }
    }

    pub(crate) fn asyncness(&self) -> Tokens {
        if self.function.is_async() { quote!(async) } else { Tokens::new() }
    }

    /// The call that takes what is there under `key`, or runs `original`.
    fn get_or_create(&self, key: &Ident, original: &Tokens) -> Tokens {
        let entry = self.entry(&quote!(#key.as_str()));
        let (veto, waiting) = (self.veto(), self.waiting());
        let has_previous = self.function.previous().is_some();
        if self.has_no_options() && veto.is_empty() && !has_previous {
            // The region itself: an entry, with its options, would be a fifth of a hit.
            let region = self.typed(&self.region());
            let can_fail = self.function.can_fail;
            let call = if can_fail { "try_get_or_create" } else { "get_or_create" };
            let call = format_ident!("{call}_decorated");
            return self.returning(quote!(#region.#call(&#key, #original) #waiting));
        }
        let entry = self.typed(&quote!(#entry #veto));
        let (can_fail, in_background) = (self.function.can_fail, self.options.background);
        let verb = if has_previous { "update" } else { "create" };
        let method = match (can_fail, in_background) {
            (false, false) => format_ident!("get_or_{verb}"),
            (false, true) => format_ident!("get_or_{verb}_in_background"),
            (true, false) => format_ident!("try_get_or_{verb}"),
            (true, true) => format_ident!("try_get_or_{verb}_telling"),
        };
        let telling = (can_fail && in_background).then(|| self.telling());
        let telling = telling.map(|telling| quote!(, #telling));
        let call = quote!(#method(#original #telling));
        self.returning(quote!(#entry.#call #waiting))
    }

    /// Returns the log text of an error in the background.
    fn telling(&self) -> Tokens {
        let (dogpile, returned) = (self.dogpile(), &self.function.returned);
        quote! {
            |error: &<#returned as #dogpile::__macro::Fallible>::Error| {
                use #dogpile::__macro::{
                    TellsDebug as _, TellsDisplay as _, TellsError as _, TellsNothing as _,
                };
                (&&&&#dogpile::__macro::Cause(error)).tell()
            }
        }
    }

    fn refresh(&self, key: &Tokens, original: &Tokens) -> Tokens {
        let (entry, veto, waiting) = (self.entry(key), self.veto(), self.waiting());
        let method = if self.function.can_fail { quote!(try_refresh) } else { quote!(refresh) };
        let entry = self.typed(&quote!(#entry #veto));
        let original = self.unconditional(original);
        self.returning(quote!(#entry.#method(#original) #waiting))
    }

    /// The function's signature with plain names for its arguments.
    pub(crate) fn signature(&self, name: &Ident) -> Signature {
        let mut signature = self.function.item.sig.clone();
        signature.ident = name.clone();
        let mut names = self.function.arguments.iter().map(|argument| own_ident(&argument.name));
        for input in &mut signature.inputs {
            if let syn::FnArg::Typed(typed) = input
                && let Some(name) = names.next()
            {
                *typed.pat = syn::parse_quote!(#name);
            }
        }
        signature
    }

    /// The function itself, as the user wrote it, under a name that nobody needs to call: that
    /// is not the user's business, but what else lints say of it is.
    pub(crate) fn body(&self, name: &Ident) -> Tokens {
        let Function { item, .. } = &self.function;
        let (lints, conditions, body) =
            (self.function.lints(), self.function.conditions(), &item.block);
        let signature = Signature { ident: name.clone(), ..item.sig.clone() };
        quote!(#(#conditions)* #(#lints)* #[doc(hidden)] #signature #body)
    }

    /// A call of `body`, for a companion with the function's own arguments.
    pub(crate) fn call_body(&self, body: &Tokens) -> Tokens {
        let (all, turbofish) = (self.all_names(), self.function.turbofish());
        let waiting = self.waiting();
        quote!(#body #turbofish(#(#all),*) #waiting)
    }

    fn all_names(&self) -> Vec<Ident> {
        self.function.names().into_iter().map(own_ident).collect()
    }

    /// The code for a function with nothing beside it: all of it is inside.
    fn alone(&self) -> Tokens {
        let function = &self.function;
        let (name, vis, attrs) = (function.name(), &function.item.vis, function.attributes());
        let dogpile = self.dogpile();
        let (body, returned) = (&function.item.block, &function.returned);
        let local = hygienic("key");
        let name_of_key = if self.is_method() {
            self.method_name()
        } else {
            let name = self.free_name(&quote!(around::<Here>));
            quote!({ struct Here; #name })
        };
        let references = function.keyed().map(|argument| own_ident(&argument.name));
        let references: Vec<Ident> = references.collect();
        let key_type = quote!(#dogpile::__macro::Key);
        let key = self.write_key(&name_of_key, &quote!(&mut #local));
        let (patterns, given) = (self.patterns(), self.given());
        let original = if function.is_boxed {
            let future = &function.item.sig.output;
            quote!(move |#given| #future { #patterns #body })
        } else if function.is_async() {
            quote!(async move |#given| -> #returned { #patterns #body })
        } else {
            quote!(move |#given| -> #returned { #patterns #body })
        };
        let call = self.get_or_create(&local, &original);
        let inside = quote! {
            let mut #local = #key_type::empty();
            {
                #(let #references = &#references;)*
                #key
            }
            #call
        };
        let inside = if function.is_boxed {
            quote!(::std::boxed::Box::pin(async move { #inside }))
        } else {
            inside
        };
        let signature = self.called(name);
        quote! {
            #(#attrs)*
            #vis #signature {
                #inside
            }
        }
    }

    /// Gives the arguments the names that the body has for them.
    fn patterns(&self) -> Tokens {
        let inputs = self.function.item.sig.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => Some(&typed.pat),
            syn::FnArg::Receiver(_) => None,
        });
        let lets = inputs.zip(self.passed());
        lets.map(|(pattern, passed)| quote!(let #pattern = #passed;)).collect()
    }
}

/// A closure that does not say of what type its argument is, with that type.
pub(crate) fn with_argument(function: &Expr, value: &Tokens) -> Expr {
    let mut function = function.clone();
    if let Expr::Closure(closure) = &mut function
        && let Some(argument) = closure.inputs.first_mut()
        && !matches!(argument, Pat::Type(_))
    {
        *argument = Pat::Verbatim(quote!(#argument: &#value));
    }
    function
}
