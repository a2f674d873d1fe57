//! `#[cached_multi]`: functions of many keys, which return a list in their
//! order, or a map.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, GenericArgument, Ident, ItemFn, Lifetime, PathArguments, Result, Type, TypePath};

use crate::cached::{Code, with_argument};
use crate::function::{Argument, Function, last_name};
use crate::hygiene::{at, hygienic, own, own_ident};
use crate::options::Options;

pub(crate) fn expand(options: Options, item: ItemFn) -> Result<Tokens> {
    let function = Function::new(item, &options)?;
    let many = Many::find(&options, &function)?;
    let code = Code { options, function };
    Ok(code.multi(&many))
}

/// The particulars of a function of many keys.
struct Many {
    /// The argument that is a list of keys.
    keys: Ident,
    keys_type: Type,
    /// It is taken by value.
    is_owned: bool,
    /// The type of a key, with its references' lifetimes named `'keys`.
    key: Type,
    /// The type that is returned, without the result around it.
    container: Type,
    is_map: bool,
}

impl Many {
    fn find(options: &Options, function: &Function) -> Result<Self> {
        refuse_what_is_for_one(options, function)?;
        let mut keyed = function.keyed();
        let name = function.name().span();
        let Some(Argument { name: keys, ty, .. }) = keyed.next() else {
            return Err(Error::new(name, "there is no argument for the keys, as `ids: &[u64]`"));
        };
        if let Some(other) = keyed.next() {
            let why = "only the list of keys may count: name the other arguments in `skip(..)`";
            return Err(Error::new(other.name.span(), why));
        }
        let mutable = function.arguments.iter().find(
            |argument| matches!(&argument.ty, Type::Reference(to) if to.mutability.is_some()),
        );
        if let Some(argument) = mutable {
            let why = "the function may be called more than once: pass something that can be \
                shared, or cloned";
            return Err(Error::new(argument.ty.span(), why));
        }
        let (is_owned, key) = element(ty)
            .ok_or_else(|| Error::new(ty.span(), "the keys are a `&[Q]` or a `Vec<Q>`"))?;
        let container = container(function)?;
        let is_map = match last_name(&container).map(ToString::to_string).as_deref() {
            Some("Vec") => false,
            Some("HashMap" | "BTreeMap") => true,
            _ => {
                let why = "return a `Vec` with a value for each key, or a `HashMap` or `BTreeMap` \
                    of those that there are";
                return Err(Error::new(container.span(), why));
            }
        };
        let (keys, keys_type) = (keys.clone(), ty.clone());
        Ok(Self { keys, keys_type, is_owned, key, container, is_map })
    }
}

fn refuse_what_is_for_one(options: &Options, function: &Function) -> Result<()> {
    let name = function.name().span();
    if let Some(receiver) = &function.receiver {
        let why = "`cached_multi` is for free functions: pass what it needs as an argument, and \
            name that in `skip(..)`";
        return Err(Error::new(receiver.span(), why));
    }
    if options.key.is_some() || options.cache_none.is_some() || options.background {
        let why = "`key`, `cache_none` and `background` are for `#[cached]`";
        return Err(Error::new(name, why));
    }
    if !function.item.sig.generics.params.is_empty() {
        let why = "`cached_multi` takes no generic functions: cache one for each type";
        return Err(Error::new(function.item.sig.generics.span(), why));
    }
    Ok(())
}

/// Returns whether a list is owned, and the type of its elements.
fn element(list: &Type) -> Option<(bool, Type)> {
    let (is_owned, inner) = match list {
        Type::Reference(reference) => (false, &*reference.elem),
        other => (true, other),
    };
    let mut element = match inner {
        Type::Slice(slice) if !is_owned => (*slice.elem).clone(),
        Type::Path(path) if last_name(inner)? == "Vec" => first_argument(path)?,
        _ => return None,
    };
    if let Type::Reference(reference) = &mut element {
        reference.lifetime.get_or_insert(Lifetime::new("'keys", Span::mixed_site()));
    }
    Some((is_owned, element))
}

fn first_argument(path: &TypePath) -> Option<Type> {
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

/// The type in the result that is returned, or all of it.
fn container(function: &Function) -> Result<Type> {
    if !function.can_fail {
        return Ok(function.returned.clone());
    }
    let inner = match &function.returned {
        Type::Path(path) => first_argument(path),
        _ => None,
    };
    inner.ok_or_else(|| {
        let why = "write out what is in the result, as `Result<Vec<User>, Error>`";
        Error::new(function.returned.span(), why)
    })
}

impl Code {
    /// The region's entries for `keys`, with the options about time.
    fn entries(&self, keys: &Tokens) -> Tokens {
        let dogpile = &self.options.dogpile;
        let region = &self.options.region;
        let entries = if self.function.is_async() {
            quote!(#dogpile::Region::entries(&#region, #keys))
        } else {
            quote!(#dogpile::Region::blocking(&#region).entries(#keys))
        };
        let times = self.times();
        quote!(#entries #times)
    }

    /// `.should_cache(..)` for the type that is stored.
    fn multi_veto(&self, many: &Many, value: &Tokens) -> Tokens {
        let dogpile = &self.options.dogpile;
        let own = self.options.should_cache.as_ref();
        let own = own.map(|own| quote!(#dogpile::__macro::check::<#value, _>(#own)));
        match (many.is_map, own) {
            (false, None) => Tokens::new(),
            (false, Some(own)) => quote!(.should_cache(#own)),
            // That a key is missing is stored as well.
            (true, None) if self.options.none.is_some() => Tokens::new(),
            (true, None) => {
                quote!(.should_cache(|made: &::core::option::Option<#value>| made.is_some()))
            }
            (true, Some(own)) => {
                let of_none = self.options.none.is_some();
                quote! {
                    .should_cache({
                        let own = #own;
                        move |made: &::core::option::Option<#value>| {
                            made.as_ref().map_or(#of_none, &own)
                        }
                    })
                }
            }
        }
    }

    /// `.lifetime(..)` for the type that is stored.
    fn multi_lifetime(&self, many: &Many, value: &Tokens) -> Tokens {
        if !many.is_map {
            return self.lifetime(value);
        }
        let made = hygienic("made");
        let no_time = || quote!(::core::option::Option::None);
        let some_time = |time| quote!(::core::option::Option::Some(#time));
        let of_none = self.options.none.as_ref().map_or_else(no_time, some_time);
        let own = match &self.options.lifetime {
            Some(own) => with_argument(own, value).to_token_stream(),
            None if self.options.none.is_none() => return Tokens::new(),
            None => quote!(|_: &#value| ::core::option::Option::None),
        };
        quote! {
            .lifetime::<::core::option::Option<#value>>({
                let own = #own;
                move |#made: &::core::option::Option<#value>| match #made {
                    ::core::option::Option::Some(#made) => own(#made),
                    ::core::option::Option::None => #of_none,
                }
            })
        }
    }

    /// The call of the function itself for the keys in `asked`, as a result.
    fn multi_call(&self, many: &Many, asked: &Ident) -> Tokens {
        let (name, waiting) = (self.function.name(), self.waiting());
        let passed = self.function.arguments.iter().map(|argument| match &argument.name {
            name if *name == many.keys && many.is_owned => quote!(#asked.clone()),
            name if *name == many.keys => quote!(&#asked),
            _ if argument.is_previous => self.multi_taken(many, argument),
            name => quote!(#name),
        });
        let call = quote!(#name::_original(#(#passed),*) #waiting);
        if self.function.can_fail {
            call
        } else {
            quote!(::core::result::Result::<_, ::core::convert::Infallible>::Ok(#call))
        }
    }

    /// The values of before, in the form in which the function takes them.
    fn multi_taken(&self, many: &Many, argument: &Argument) -> Tokens {
        let (ty, span, container) = (&argument.ty, argument.ty.span(), &many.container);
        let (previous, plain) = (hygienic("previous"), self.dogpile());
        let (value, dogpile) = (self.multi_types(many).0, at(span, plain));
        let found = quote!(#plain::__macro::previous::<#container>(#previous));
        quote_spanned! {span=>
            <#ty as #dogpile::__macro::PreviousOfMany<#value>>::from_previous(#found)
        }
    }

    /// `let`, for a function that takes the values of before of the keys in `asked`: there are none.
    fn multi_nothing(&self, asked: &Ident) -> Tokens {
        let previous = hygienic("previous");
        let is_taken = self.function.previous().map(|_| {
            quote! {
                let #previous = #asked.iter().map(|_| ::core::option::Option::None);
                let #previous: ::std::vec::Vec<_> = #previous.collect();
            }
        });
        is_taken.unwrap_or_default()
    }

    /// `let` for what a creator of `method` is given: the names of keys, and their values of before.
    fn multi_asked(&self, many: &Many, method: &Ident, asked: &Ident) -> Tokens {
        let (dogpile, previous) = (self.dogpile(), hygienic("previous"));
        let names = quote!(::std::vec::Vec<::std::string::String>);
        if method != "try_get_or_update" {
            let nothing = self.multi_nothing(asked);
            return quote!(let #asked: #names = #asked; #nothing);
        }
        let stored = self.multi_types(many).1;
        let found = quote!(::core::option::Option<#dogpile::CachedValue<#stored>>);
        quote! {
            let (#asked, #previous): (#names, ::std::vec::Vec<#found>) =
                ::core::iter::Iterator::unzip(::core::iter::IntoIterator::into_iter(#asked));
        }
    }

    /// Returns what the function returns, of a result that may be one of ours.
    fn multi_settled(&self, made: &Ident) -> Tokens {
        if self.function.can_fail {
            quote!(#made)
        } else {
            quote!(match #made { ::core::result::Result::Ok(#made) => #made })
        }
    }

    /// The region, for calls of many keys.
    fn multi_region(&self) -> Tokens {
        let (dogpile, region) = (&self.options.dogpile, &self.options.region);
        if self.function.is_async() {
            quote!(#dogpile::__macro::region(&#region))
        } else {
            quote!(#dogpile::Region::blocking(&#region))
        }
    }

    /// The type of a value, and the type that is stored for it.
    fn multi_types(&self, many: &Many) -> (Tokens, Tokens) {
        let (span, container) = (self.function.returned.span(), &many.container);
        let dogpile = at(span, self.dogpile());
        let value = quote_spanned!(span=> <#container as #dogpile::__macro::Several>::Value);
        let stored = if many.is_map {
            quote_spanned!(span=> ::core::option::Option<#value>)
        } else {
            value.clone()
        };
        (value, stored)
    }

    fn multi(&self, many: &Many) -> Tokens {
        let function = &self.function;
        let (name, shown, attrs) = (function.name(), &function.item.vis, function.attributes());
        let vis = own(shown.to_token_stream());
        let conditions = function.conditions();
        let body = self.body(&own_ident(&format_ident!("_original", span = name.span())));
        let call_body = self.call_body(&quote!(Self::_original));
        let passing = own(self.signature(&format_ident!("original")).to_token_stream());
        let (decorated, companions) = (self.multi_decorated(many), self.multi_companions(many));
        let (about, own_name) = (format!("The cache of [`{name}()`](fn@{name})."), own_ident(name));
        quote! {
            #(#attrs)*
            #shown #decorated

            #(#conditions)*
            #[doc = #about]
            #vis struct #own_name {}

            #(#conditions)*
            impl #own_name {
                #body
            }

            #(#conditions)*
            impl #own_name {
                /// Runs the function itself, past the cache.
                #vis #passing {
                    #call_body
                }

                #companions
            }
        }
    }

    /// The function, with the cache before it.
    fn multi_decorated(&self, many: &Many) -> Tokens {
        let name = self.function.name();
        let is_given = self.function.previous().is_some();
        let method = if is_given { "try_get_or_update" } else { "try_get_or_create" };
        self.multi_creating(many, name, &quote!(#name), &format_ident!("{method}"))
    }

    /// A function called `name` that creates values by `method`, under keys that `owner`
    /// makes.
    fn multi_creating(&self, many: &Many, name: &Ident, owner: &Tokens, method: &Ident) -> Tokens {
        let (function, dogpile) = (&self.function, &self.options.dogpile);
        let Many { keys, container, .. } = many;
        let [names, asked, made] = ["names", "asked", "made"].map(hygienic);
        let waiting = self.waiting();
        let (value, stored) = self.multi_types(many);
        let veto = self.multi_veto(many, &value);
        let entries = self.entries(&quote!(#names.iter().cloned()));
        let lifetime = self.multi_lifetime(many, &value);
        let entries = self.held(&stored, &quote!(#entries #veto #lifetime), &Tokens::new());
        let (call, settled) = (self.multi_call(many, &asked), self.multi_settled(&made));
        let previous = function.previous().map(|argument| &argument.name);
        let others = function.names().into_iter();
        let others = others.filter(|other| *other != keys && Some(*other) != previous);
        let (taken, nothing) = (self.multi_asked(many, method, &asked), self.multi_nothing(&asked));
        let in_order = quote! {
            #call.map(|#made| #dogpile::__macro::SeveralBy::in_order(#made, &#asked))
        };
        let creation =
            if function.is_async() { quote!(async move { #in_order }) } else { in_order };
        let signature = self.called(name);
        quote! {
            #signature {
                let #names = #owner::make_keys(&#keys);
                let #made = #entries .#method(|#asked| {
                    #taken
                    let #asked = #dogpile::__macro::asked(&#keys[..], &#names, &#asked);
                    #(let #others = ::core::clone::Clone::clone(&#others);)*
                    #creation
                }) #waiting;
                let #made = match #dogpile::__macro::unless_cache_failed(#made) {
                    ::core::option::Option::Some(#made) => #made.map(|#made| {
                        <#container as #dogpile::__macro::SeveralBy<_>>::collect(&#keys[..], #made)
                    }),
                    ::core::option::Option::None => {
                        let #asked = #keys.to_vec();
                        #nothing
                        #call
                    }
                };
                #settled
            }
        }
    }

    fn multi_companions(&self, many: &Many) -> Tokens {
        let (function, dogpile) = (&self.function, &self.options.dogpile);
        let vis = own(function.item.vis.to_token_stream());
        let (asyncness, waiting) = (self.asyncness(), self.waiting());
        let Many { keys, keys_type, key, container, .. } = many;
        let [names, made, given, one] = ["names", "made", "values", "one"].map(hygienic);
        let (value, stored) = self.multi_types(many);
        let lifetime = self.multi_lifetime(many, &value);
        let entries = self.entries(&quote!(#names.iter().cloned()));
        let setting = self.held(&stored, &quote!(#entries #lifetime), &Tokens::new());
        let entries = self.held(&stored, &entries, &Tokens::new());
        let region = self.multi_region();
        let delete = quote!(#region.delete_multi(Self::make_keys(&#keys)) #waiting);
        let refresh = format_ident!("refresh");
        let refresh =
            self.multi_creating(many, &refresh, &quote!(Self), &format_ident!("try_refresh"));
        let make_key = self.multi_key(many, &one);
        quote! {
            /// Creates the values, whatever is stored, and stores them.
            #vis #refresh

            /// Returns the stored values that are fresh, in the order of the keys.
            #vis #asyncness fn get(#keys: #keys_type)
                -> #dogpile::Result<::std::vec::Vec<::core::option::Option<#value>>>
            {
                let #names = Self::make_keys(&#keys);
                let #made = #entries.get::<#stored>() #waiting?;
                let #made = #made.into_iter();
                let #made = #made.map(<#container as #dogpile::__macro::Several>::found);
                ::core::result::Result::Ok(#made.collect())
            }

            /// Stores values under their keys: those of a map, or pairs.
            #vis #asyncness fn set<'keys>(
                #given: impl ::core::iter::IntoIterator<Item = (&'keys #key, &'keys #value)>,
            ) -> #dogpile::Result<()> {
                let (#names, #given): (::std::vec::Vec<_>, ::std::vec::Vec<_>) = #given
                    .into_iter()
                    .map(|(#one, #made)| {
                        let #made = <#container as #dogpile::__macro::Several>::kept(#made);
                        (Self::make_key(#one), #made)
                    })
                    .unzip();
                #setting.set::<#stored>(&#given) #waiting
            }

            /// Removes the stored values.
            #vis #asyncness fn invalidate(#keys: #keys_type) -> #dogpile::Result<()> {
                #delete
            }

            /// Returns the key in the region of one key of the function.
            #vis fn key<'keys>(#one: &#key) -> ::std::string::String {
                Self::make_key(#one)
            }

            fn make_keys<'keys>(#keys: &[#key]) -> ::std::vec::Vec<::std::string::String> {
                #keys.iter().map(Self::make_key).collect()
            }

            fn make_key<'keys>(#one: &#key) -> ::std::string::String {
                #make_key
            }
        }
    }

    fn multi_key(&self, many: &Many, one: &Ident) -> Tokens {
        let (dogpile, region) = (&self.options.dogpile, &self.options.region);
        let of = own_ident(self.function.name());
        let (name, text) = (self.free_name(&quote!(of::<#of>)), many.keys.unraw().to_string());
        let part = self.part(Some(&many.key), &quote!(#one), many.keys.span());
        let (namespace, generator) = self.namespace_and_generator();
        quote! {
            use #dogpile::__macro::{
                HasDisplay as _, HasElements as _, HasKeyPart as _, HasNothing as _,
            };
            let function = #dogpile::__macro::key(
                &#region,
                &#dogpile::key::FunctionKey::new(#dogpile::__macro::text(#name), #namespace, &[(#text, &#part)]),
                #generator,
            );
            function.as_str().into()
        }
    }
}
