//! A function under an attribute.

use proc_macro2::{Span, TokenStream as Tokens, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Error, Expr, FnArg, GenericParam, Generics, Ident, ItemFn, Lifetime, Pat, Receiver,
    ReceiverKind, Result, ReturnType, Type, TypeImplTrait, TypeReference,
};

use crate::generics::{Mentioned, is_only_called, turbofish, without};
use crate::hygiene::at;
use crate::options::Options;

/// A function, taken apart.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returned: Type,
    /// Its value is what is in `Ok`.
    pub(crate) can_fail: bool,
    /// The attribute `async_trait` has made it return a boxed future of `returned`.
    pub(crate) is_boxed: bool,
    /// A number for its text.
    pub(crate) digest: u32,
    /// Type and constant parameters that are not part of the key.
    skipped_generics: Vec<Ident>,
}

/// An argument but for `self`.
pub(crate) struct Argument {
    /// The name under which it is passed on.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// It is part of the key, or of what the key is made of.
    pub(crate) is_keyed: bool,
    /// It is given the value of before, and callers do not pass it.
    pub(crate) is_previous: bool,
}

impl Function {
    pub(crate) fn new(item: ItemFn, options: &Options) -> Result<Self> {
        refuse_modifiers(&item)?;
        let mut receiver = None;
        let mut arguments = Vec::new();
        for (index, input) in item.sig.inputs.iter().enumerate() {
            match input {
                FnArg::Receiver(own) => receiver = Some(own.clone()),
                FnArg::Typed(typed) => {
                    refuse_impl(&typed.ty)?;
                    let name = match &*typed.pat {
                        Pat::Ident(name) if name.subpat.is_none() => name.ident.clone(),
                        _ => format_ident!("argument_{index}"),
                    };
                    let is_previous = options.previous.as_ref() == Some(&name);
                    let is_keyed = match &options.key {
                        Some(key) => key.iter().any(|part| mentions(part, &name)),
                        None => !is_previous && !options.skip.contains(&name),
                    };
                    let ty = (*typed.ty).clone();
                    arguments.push(Argument { name, ty, is_keyed, is_previous });
                }
            }
        }
        check_skipped(options, &item, receiver.is_some(), &arguments)?;
        check_previous(options, &arguments)?;
        let (returned, is_boxed) = returned(&item)?;
        let can_fail = options.fallible || last_name(&returned).is_some_and(|n| n == "Result");
        if (options.share_failures || options.remember_failures.is_some()) && !can_fail {
            let why = "`share_failures` and `remember_failures` are for functions that return a `Result`; for an alias of it, \
                add `fallible`";
            return Err(Error::new(item.sig.ident.span(), why));
        }
        let mut function = Self {
            digest: digest(&item.to_token_stream().to_string()),
            item,
            receiver,
            arguments,
            returned,
            can_fail,
            is_boxed,
            skipped_generics: Vec::new(),
        };
        function.skipped_generics = function.find_skipped_generics(options);
        Ok(function)
    }

    fn find_skipped_generics(&self, options: &Options) -> Vec<Ident> {
        let generics = &self.item.sig.generics;
        let is_skipped = |name: &Ident| {
            options.skip.contains(name)
                || (is_only_called(name, generics) && !self.is_needed_by_companions(name))
        };
        generics_names(generics).filter(|name| is_skipped(name)).cloned().collect()
    }

    /// Does a parameter occur in what companions take and return?
    fn is_needed_by_companions(&self, name: &Ident) -> bool {
        let mentions = |ty: &Type| Mentioned::in_type(ty).has(name);
        self.keyed().any(|argument| mentions(&argument.ty)) || mentions(&self.returned)
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    pub(crate) fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some() || self.is_boxed
    }

    /// The type that is cached.
    pub(crate) fn value(&self, dogpile: &Tokens) -> Tokens {
        let returned = &self.returned;
        if self.can_fail {
            let dogpile = at(returned.span(), dogpile);
            quote_spanned!(returned.span()=> <#returned as #dogpile::__macro::Fallible>::Value)
        } else {
            quote!(#returned)
        }
    }

    /// The arguments that those who only need the key are asked for.
    pub(crate) fn keyed(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(|argument| argument.is_keyed)
    }

    /// The argument that is given the value of before.
    pub(crate) fn previous(&self) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.is_previous)
    }

    pub(crate) fn names(&self) -> Vec<&Ident> {
        self.arguments.iter().map(|argument| &argument.name).collect()
    }

    /// All of its type and constant parameters, as `::<A, B>`.
    pub(crate) fn turbofish(&self) -> Tokens {
        turbofish(&self.item.sig.generics)
    }

    /// The type and constant parameters that are part of the key: all that the body can see,
    /// but for those that are skipped.
    pub(crate) fn generics_of_key(&self) -> Vec<&GenericParam> {
        let params = self.item.sig.generics.params.iter();
        params
            .filter(|param| match param {
                GenericParam::Lifetime(_) => false,
                GenericParam::Type(param) => !self.skipped_generics.contains(&param.ident),
                GenericParam::Const(param) => !self.skipped_generics.contains(&param.ident),
            })
            .collect()
    }

    /// The parameters of the companions.
    pub(crate) fn keyed_generics(&self) -> Generics {
        let dropped: Vec<Ident> = self
            .skipped_generics
            .iter()
            .filter(|name| !self.is_needed_by_companions(name))
            .cloned()
            .collect();
        without(&self.item.sig.generics, &dropped)
    }

    /// The attributes that all items made of the function have to have.
    pub(crate) fn conditions(&self) -> Vec<&Attribute> {
        self.item.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
    }

    /// Those of the function that stands for it. What is expected of its body is
    /// not to be expected of ours.
    pub(crate) fn attributes(&self) -> Vec<&Attribute> {
        let attributes = self.item.attrs.iter();
        attributes.filter(|attribute| !attribute.path().is_ident("expect")).collect()
    }

    /// Those that are about its body.
    pub(crate) fn lints(&self) -> Vec<&Attribute> {
        let lints = ["allow", "expect", "warn", "deny", "forbid"];
        let is_lint =
            |attribute: &&Attribute| lints.iter().any(|lint| attribute.path().is_ident(lint));
        self.item.attrs.iter().filter(is_lint).collect()
    }
}

/// Returns a number for a text, the same in every build (FNV-1a).
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The name at the end of a type's path.
pub(crate) fn last_name(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

fn refuse_modifiers(item: &ItemFn) -> Result<()> {
    let signature = &item.sig;
    let refused = |place: Span, what: &str| Err(Error::new(place, what));
    if let Some(constant) = &signature.constness {
        return refused(
            constant.span(),
            "a `const fn` cannot be cached: it may run at compile time",
        );
    }
    if !matches!(signature.safety, syn::Safety::Default) {
        return refused(
            signature.safety.span(),
            "an `unsafe fn` cannot be cached: cache a safe one around it",
        );
    }
    if let Some(abi) = &signature.abi {
        return refused(
            abi.span(),
            "a function for another language cannot be cached: cache one that it calls",
        );
    }
    Ok(())
}

/// The type that is returned, and whether a boxed future of it is: `async_trait` has been
/// here before.
fn returned(item: &ItemFn) -> Result<(Type, bool)> {
    let ReturnType::Type(_, returned) = &item.sig.output else {
        let why = "this function returns nothing, so there is nothing to cache";
        return Err(Error::new(item.sig.ident.span(), why));
    };
    if let Some(output) = boxed_output(item, returned) {
        return checked(&output).map(|returned| (returned, true));
    }
    checked(returned).map(|returned| (returned, false))
}

fn checked(returned: &Type) -> Result<Type> {
    if let Some(place) = find_impl(returned) {
        let why = "write out the type that is returned: what is cached has to have a name";
        return Err(Error::new(place, why));
    }
    if let Some(place) = find_future(returned) {
        let why = "this function returns a future, which can be awaited once: make it an `async fn`, \
            so that its output is cached";
        return Err(Error::new(place, why));
    }
    let mut borrowed = Borrowed(None);
    borrowed.visit_type(returned);
    match borrowed.0 {
        Some(place) => {
            let why = "a cached value outlives the call: return an owned type, such as `String` \
                for `&str` or an `Arc`";
            Err(Error::new(place, why))
        }
        None => Ok(returned.clone()),
    }
}

/// The output of the boxed future that `async_trait` makes of a function's return type.
fn boxed_output(item: &ItemFn, returned: &Type) -> Option<Type> {
    let is_async_trait =
        item.sig.generics.lifetimes().any(|one| one.lifetime.ident == "async_trait");
    if !is_async_trait || last_name(returned)? != "Pin" {
        return None;
    }
    let mut output = FutureOutput(None, None);
    output.visit_type(returned);
    output.0
}

fn find_future(returned: &Type) -> Option<Span> {
    let mut output = FutureOutput(None, None);
    output.visit_type(returned);
    output.1
}

/// Finds `dyn Future<Output = T>`: its `T`, and where it stands.
struct FutureOutput(Option<Type>, Option<Span>);

impl<'ast> Visit<'ast> for FutureOutput {
    fn visit_trait_bound(&mut self, bound: &'ast syn::TraitBound) {
        let Some(last) = bound.path.segments.last().filter(|last| last.ident == "Future") else {
            return;
        };
        let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return };
        for argument in &arguments.args {
            if let syn::GenericArgument::AssocType(output) = argument
                && output.ident == "Output"
            {
                self.0 = Some(output.ty.clone());
                self.1 = Some(last.span());
            }
        }
    }
}

fn refuse_impl(ty: &Type) -> Result<()> {
    match find_impl(ty) {
        None => Ok(()),
        Some(place) => {
            let why = "give the type a name: `fn f<T: Trait>(argument: T)` in place of `impl Trait`, \
                so that `f::get::<T>(..)` and so on can be called";
            Err(Error::new(place, why))
        }
    }
}

fn find_impl(ty: &Type) -> Option<Span> {
    struct Find(Option<Span>);
    impl<'ast> Visit<'ast> for Find {
        fn visit_type_impl_trait(&mut self, found: &'ast TypeImplTrait) {
            self.0.get_or_insert(found.span());
        }
    }
    let mut find = Find(None);
    find.visit_type(ty);
    find.0
}

/// Finds a reference or a lifetime that is not `'static`.
struct Borrowed(Option<Span>);

impl<'ast> Visit<'ast> for Borrowed {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        match &reference.lifetime {
            Some(lifetime) if lifetime.ident == "static" => {
                visit::visit_type_reference(self, reference);
            }
            _ => {
                self.0.get_or_insert(reference.span());
            }
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.0.get_or_insert(lifetime.span());
        }
    }
}

fn generics_names(generics: &Generics) -> impl Iterator<Item = &Ident> {
    generics.params.iter().filter_map(|param| match param {
        GenericParam::Lifetime(_) => None,
        GenericParam::Type(param) => Some(&param.ident),
        GenericParam::Const(param) => Some(&param.ident),
    })
}

fn check_skipped(
    options: &Options,
    item: &ItemFn,
    has_receiver: bool,
    arguments: &[Argument],
) -> Result<()> {
    for skipped in &options.skip {
        let is_argument = arguments.iter().any(|argument| argument.name == *skipped);
        let is_receiver = skipped == "self" && has_receiver;
        let is_parameter = generics_names(&item.sig.generics).any(|name| name == skipped);
        if !is_argument && !is_receiver && !is_parameter {
            let why = format!("there is no argument or type parameter `{skipped}` to skip");
            return Err(Error::new(skipped.span(), why));
        }
        if let Some(part) = options.key.iter().flatten().find(|part| mentions(part, skipped)) {
            let why = format!("`{skipped}` is skipped, and part of the key");
            return Err(Error::new(part.span(), why));
        }
    }
    Ok(())
}

fn check_previous(options: &Options, arguments: &[Argument]) -> Result<()> {
    let Some(previous) = &options.previous else { return Ok(()) };
    match arguments.iter().find(|argument| argument.is_previous) {
        None => {
            let why = format!("there is no argument `{previous}` for the value of before");
            Err(Error::new(previous.span(), why))
        }
        Some(argument) if argument.is_keyed => {
            let why =
                format!("`{previous}` is given the value of before, so it is not part of the key");
            Err(Error::new(previous.span(), why))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses what cannot outlive the call, where the function may run after it.
pub(crate) fn refuse_borrowed(function: &Function) -> Result<()> {
    let why = "`background` runs the function after the call has returned, so it owns its \
        arguments: take a `String` for `&str`, a clone of the pool for `&PgPool`";
    for argument in &function.arguments {
        let mut borrowed = Borrowed(None);
        borrowed.visit_type(&argument.ty);
        if let Some(place) = borrowed.0 {
            return Err(Error::new(place, why));
        }
    }
    match &function.receiver {
        Some(receiver) if matches!(receiver.kind, ReceiverKind::Reference(..)) => {
            let why = "`background` runs the function after the call has returned, when `self` \
                may be gone: take `self: Arc<Self>`, or cache a function that is given a clone of \
                what it needs";
            Err(Error::new(receiver.span(), why))
        }
        _ => Ok(()),
    }
}

/// Does an expression say `self`?
pub(crate) fn mentions_self(expression: &Expr) -> bool {
    mentions(expression, &Ident::new("self", Span::call_site()))
}

/// Does an expression name a variable? Also in the text of a `format!`.
fn mentions(expression: &Expr, variable: &Ident) -> bool {
    fn any(tokens: Tokens, variable: &Ident, in_text: &str) -> bool {
        // The dots before a token: one makes it a field or a method.
        let mut dots = 0;
        tokens.into_iter().any(|token| {
            let before = std::mem::take(&mut dots);
            match token {
                TokenTree::Ident(name) => name == *variable && before != 1,
                TokenTree::Group(group) => any(group.stream(), variable, in_text),
                TokenTree::Literal(text) => text.to_string().contains(in_text),
                TokenTree::Punct(punct) => {
                    dots = if punct.as_char() == '.' { before + 1 } else { 0 };
                    false
                }
            }
        })
    }
    any(expression.to_token_stream(), variable, &format!("{{{variable}"))
}
