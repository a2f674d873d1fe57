//! A function with its companions: those of a struct beside it, or the methods beside it in an `impl` block.

use proc_macro2::{Ident, TokenStream as Tokens};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use super::Code;
use crate::generics::turbofish;
use crate::hygiene::{at, hygienic, own, own_ident};

/// The arguments of companions.
struct Keyed {
    params: Tokens,
    clause: Tokens,
    turbofish: Tokens,
    names: Vec<Ident>,
    types: Vec<Tokens>,
}

impl Code {
    /// The code for a function that stands for itself.
    pub(super) fn free(&self) -> Tokens {
        let function = &self.function;
        let (name, vis, dogpile) = (function.name(), &function.item.vis, self.dogpile());
        let (attrs, conditions) = (function.attributes(), function.conditions());
        let (value, asyncness, own_name) = (self.value(), self.asyncness(), own_ident(name));
        let Keyed { params, clause, turbofish, names, types } = self.keyed();
        let (all, turbofish_all) = (self.passed(), function.turbofish());
        let original = self.creator(&quote!(#own_name::_original #turbofish_all(#(#all),*)));
        let [local, given] = ["key", "value"].map(hygienic);
        let (into, key_type) = (hygienic("into"), quote!(#dogpile::__macro::Key));
        let make_key = quote! {
            let mut #local = #key_type::empty();
            #own_name::write_key #turbofish(&mut #local, #(&#names),*);
        };
        let name_of_key = self.free_name(&quote!(of::<#own_name>));
        let (key, key_str) =
            (self.write_key(&name_of_key, &quote!(#into)), quote!(#local.as_str()));
        let (call, refresh) =
            (self.get_or_create(&local, &original), self.refresh(&key_str, &original));
        let (entry, waiting) = (self.entry(&key_str), self.waiting());
        let typed = self.typed(&entry);
        let signature = self.called(name);
        let body = self.body(&own_ident(&format_ident!("_original", span = name.span())));
        let call_body = self.call_body(&quote!(Self::_original));
        let passing = own(self.signature(&format_ident!("original")).to_token_stream());
        let refreshing = own(self.called(&format_ident!("refresh")).to_token_stream());
        let about = format!("The cache of [`{name}()`](fn@{name}).");
        let own_vis = own(vis.to_token_stream());
        let many_arguments = self.many_arguments();
        let span = function.returned.span();
        let (placed, borrowed) = (at(span, dogpile), quote_spanned!(span=> &#value));
        let found = quote_spanned!(span=> #placed::Result<::core::option::Option<#value>>);
        // Where the value's type may not exist, that is said of the user's place alone.
        let found = if self.options.fallible { found } else { own(found) };
        quote! {
            #(#attrs)*
            #vis #signature {
                #make_key
                #call
            }

            #(#conditions)*
            #[doc = #about]
            #own_vis struct #own_name {}

            #(#conditions)*
            impl #own_name {
                #body
            }

            #(#conditions)*
            #many_arguments
            impl #own_name {
                /// Runs the function itself, past the cache.
                #own_vis #passing {
                    #call_body
                }

                /// Creates the value, whatever is stored, and stores it.
                #own_vis #refreshing {
                    #make_key
                    #refresh
                }

                /// Returns the stored value, if it is fresh.
                #own_vis #asyncness fn get<#params>(#(#names: #types),*)
                    -> #found #clause
                {
                    #make_key
                    #typed.get::<#value>() #waiting
                }

                /// Stores a value.
                #own_vis #asyncness fn set<#params>(#given: #borrowed, #(#names: #types),*)
                    -> #dogpile::Result<()> #clause
                {
                    #make_key
                    #typed.set::<#value>(#given) #waiting
                }

                /// Removes the stored value.
                #own_vis #asyncness fn invalidate<#params>(#(#names: #types),*)
                    -> #dogpile::Result<()> #clause
                {
                    #make_key
                    #entry.delete() #waiting
                }

                /// Returns the key of a call with these arguments.
                #own_vis fn key<#params>(#(#names: #types),*) -> ::std::string::String #clause {
                    #make_key
                    #key_str.into()
                }

                fn write_key<#params>(#into: &mut #key_type, #(#names: &#types),*) #clause
                    #key
            }
        }
    }

    /// The code for a function in an `impl` block.
    pub(super) fn method(&self) -> Tokens {
        let function = &self.function;
        let (name, vis, dogpile) = (function.name(), &function.item.vis, self.dogpile());
        let (attrs, conditions) = (function.attributes(), function.conditions());
        let Keyed { params, clause, turbofish, names, types } = self.keyed();
        let (all, turbofish_all) = (self.passed(), function.turbofish());
        let bare = name.unraw();
        let [original_name, refresh_name, entry_name, key_name] =
            ["original", "refresh", "entry", "key"]
                .map(|what| own_ident(&format_ident!("{bare}_{what}", span = name.span())));
        let body_name = own_ident(&format_ident!("__dogpile_{bare}_original", span = name.span()));
        let write_name = own_ident(&format_ident!("__dogpile_{bare}_key", span = name.span()));
        let receiving = function.receiver.as_ref();
        let (receiver, owner, lifetime) = match receiving {
            Some(_) => (quote!(&self,), quote!(self.), quote!('_)),
            None => (Tokens::new(), quote!(Self::), quote!('static)),
        };
        let original = self.creator(&quote!(#owner #body_name #turbofish_all(#(#all),*)));
        let local = hygienic("key");
        let (into, key_type) = (hygienic("into"), quote!(#dogpile::__macro::Key));
        let make_key = quote! {
            let mut #local = #key_type::empty();
            #owner #write_name #turbofish(&mut #local, #(&#names),*);
        };
        let key = self.write_key(&self.method_name(), &quote!(#into));
        let key_str = quote!(#local.as_str());
        let (call, refresh) =
            (self.get_or_create(&local, &original), self.refresh(&key_str, &original));
        let kind = if self.options.in_memory { quote!(InMemory) } else { quote!(Serialized) };
        let entry_type = if function.is_async() { quote!(Entry) } else { quote!(blocking::Entry) };
        let entry = self.entry(&quote!(::std::string::String::from(#key_str)));
        let signature = self.called(name);
        let body = self.body(&body_name);
        let call_body = self.call_body(&quote!(#owner #body_name));
        let passing = own(self.signature(&original_name).to_token_stream());
        let refreshing = own(self.called(&refresh_name).to_token_stream());
        let about = format!("Returns the entry of [`{name}`](Self::{name}) for these arguments.");
        let own_vis = own(vis.to_token_stream());
        let many_arguments = self.many_arguments();
        let about_key = format!("Returns the key of [`{name}`](Self::{name}) for these arguments.");
        quote! {
            #(#attrs)*
            #vis #signature {
                #make_key
                #call
            }

            #body

            /// Runs the function itself, past the cache.
            #(#conditions)* #many_arguments
            #own_vis #passing {
                #call_body
            }

            /// Creates the value, whatever is stored, and stores it.
            #(#conditions)* #many_arguments
            #own_vis #refreshing {
                #make_key
                #refresh
            }

            #(#conditions)* #many_arguments
            #[doc = #about]
            #own_vis fn #entry_name<#params>(#receiver #(#names: #types),*)
                -> #dogpile::#entry_type<#lifetime, #dogpile::#kind> #clause
            {
                #make_key
                #entry
            }

            #(#conditions)* #many_arguments
            #[doc = #about_key]
            #own_vis fn #key_name<#params>(#receiver #(#names: #types),*)
                -> ::std::string::String #clause
            {
                #make_key
                #key_str.into()
            }

            #(#conditions)* #many_arguments
            #[doc(hidden)]
            fn #write_name<#params>(#receiver #into: &mut #key_type, #(#names: &#types),*) #clause
                #key
        }
    }

    /// Returns what companions are made of: their arguments and what they are generic in.
    fn keyed(&self) -> Keyed {
        let generics = self.function.keyed_generics();
        let (params, clause) = (&generics.params, &generics.where_clause);
        let arguments: Vec<_> = self.function.keyed().collect();
        Keyed {
            params: own(params.to_token_stream()),
            clause: own(clause.to_token_stream()),
            turbofish: turbofish(&generics),
            names: arguments.iter().map(|argument| own_ident(&argument.name)).collect(),
            types: arguments.iter().map(|argument| own(argument.ty.to_token_stream())).collect(),
        }
    }

    /// Companions have an argument more than their function, or two with `self`, which is not a mistake
    /// of the user's.
    fn many_arguments(&self) -> Tokens {
        if self.function.arguments.len() < 6 {
            return Tokens::new();
        }
        quote!(#[allow(clippy::too_many_arguments)])
    }
}
