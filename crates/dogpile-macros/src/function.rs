//! What is known of a function under an attribute.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{ToTokens, format_ident, quote};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Error, Expr, FnArg, GenericParam, Generics, Ident, ItemFn, Lifetime, Pat, Receiver,
    Result, ReturnType, Type, TypeImplTrait, TypeReference, WherePredicate,
};

use crate::options::Options;

/// A function, taken apart.
pub(crate) struct Function {
    pub(crate) item: ItemFn,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returned: Type,
    /// Its value is what is in `Ok`.
    pub(crate) can_fail: bool,
}

/// An argument but for `self`.
pub(crate) struct Argument {
    /// What it is called where it is passed on.
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// It is not asked for by what only needs the key.
    pub(crate) is_skipped: bool,
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
                    let is_skipped = options.skip.contains(&name);
                    arguments.push(Argument { name, ty: (*typed.ty).clone(), is_skipped });
                }
            }
        }
        for skipped in &options.skip {
            let is_argument = arguments.iter().any(|argument| argument.name == *skipped);
            let is_receiver = skipped == "self" && receiver.is_some();
            if !is_argument && !is_receiver {
                let why = format!("there is no argument `{skipped}` to skip");
                return Err(Error::new(skipped.span(), why));
            }
        }
        let returned = returned(&item)?;
        let can_fail = options.fallible || last_name(&returned).is_some_and(|n| n == "Result");
        Ok(Self { item, receiver, arguments, returned, can_fail })
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.item.sig.ident
    }

    pub(crate) fn is_async(&self) -> bool {
        self.item.sig.asyncness.is_some()
    }

    /// The type that is cached.
    pub(crate) fn value(&self, dogpile: &Tokens) -> Tokens {
        let returned = &self.returned;
        if self.can_fail {
            quote!(<#returned as #dogpile::__macro::Fallible>::Value)
        } else {
            quote!(#returned)
        }
    }

    /// The arguments that those who only need the key are asked for.
    pub(crate) fn keyed(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().filter(|argument| !argument.is_skipped)
    }

    pub(crate) fn names(&self) -> Vec<&Ident> {
        self.arguments.iter().map(|argument| &argument.name).collect()
    }

    /// All of its type and constant parameters, as `::<A, B>`.
    pub(crate) fn turbofish(&self) -> Tokens {
        turbofish(&self.item.sig.generics)
    }

    /// The parameters that matter to who only needs the key: those of its
    /// arguments and of the value.
    pub(crate) fn keyed_generics(&self) -> Generics {
        let mut mentioned = Mentioned::default();
        self.keyed().for_each(|argument| mentioned.visit_type(&argument.ty));
        mentioned.visit_type(&self.returned);
        let mut generics = self.item.sig.generics.clone();
        let kept = |param: &GenericParam| match param {
            GenericParam::Lifetime(param) => mentioned.has_lifetime(&param.lifetime),
            GenericParam::Type(param) => mentioned.has(&param.ident),
            GenericParam::Const(param) => mentioned.has(&param.ident),
        };
        let dropped: Vec<String> = generics
            .params
            .iter()
            .filter(|param| !kept(param))
            .map(|param| match param {
                GenericParam::Lifetime(param) => param.lifetime.to_string(),
                GenericParam::Type(param) => param.ident.to_string(),
                GenericParam::Const(param) => param.ident.to_string(),
            })
            .collect();
        generics.params = generics.params.into_iter().filter(kept).collect();
        if let Some(clause) = &mut generics.where_clause {
            let about = |predicate: &WherePredicate| {
                let mut mentioned = Mentioned::default();
                mentioned.visit_where_predicate(predicate);
                dropped.iter().any(|name| mentioned.0.contains(name))
            };
            let predicates = std::mem::take(&mut clause.predicates);
            clause.predicates = predicates.into_iter().filter(|p| !about(p)).collect();
        }
        generics
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

/// `::<A, B>` of the type and constant parameters, or nothing.
pub(crate) fn turbofish(generics: &Generics) -> Tokens {
    let names: Vec<&Ident> = generics
        .params
        .iter()
        .filter_map(|param| match param {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(param) => Some(&param.ident),
            GenericParam::Const(param) => Some(&param.ident),
        })
        .collect();
    if names.is_empty() { Tokens::new() } else { quote!(::<#(#names),*>) }
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

fn returned(item: &ItemFn) -> Result<Type> {
    let ReturnType::Type(_, returned) = &item.sig.output else {
        let why = "this function returns nothing, so there is nothing to cache";
        return Err(Error::new(item.sig.ident.span(), why));
    };
    if let Some(place) = find_impl(returned) {
        let why = "write out the type that is returned: what is cached has to have a name";
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
        None => Ok((**returned).clone()),
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

/// Finds a reference that is not `'static`.
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
}

/// The names that occur in types.
#[derive(Default)]
struct Mentioned(Vec<String>);

impl Mentioned {
    fn has(&self, name: &Ident) -> bool {
        self.0.contains(&name.to_string())
    }

    fn has_lifetime(&self, lifetime: &Lifetime) -> bool {
        self.0.contains(&lifetime.to_string())
    }
}

impl<'ast> Visit<'ast> for Mentioned {
    fn visit_ident(&mut self, name: &'ast Ident) {
        self.0.push(name.to_string());
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0.push(lifetime.to_string());
    }
}

/// Does an expression say `self`?
pub(crate) fn mentions_self(expression: &Expr) -> bool {
    fn any(tokens: Tokens) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(name) => name == "self",
            proc_macro2::TokenTree::Group(group) => any(group.stream()),
            _ => false,
        })
    }
    any(expression.to_token_stream())
}
