//! The generic parameters of a function: which are part of the key, and which its companions
//! need of it.

use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    GenericParam, Generics, Ident, Lifetime, Macro, Token, Type, TypeParamBound, WherePredicate,
};

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

/// Is a type parameter nothing but something to call, or to wait for? Then all that the
/// function can see of it is the argument of that type.
pub(crate) fn is_only_called(param: &Ident, generics: &Generics) -> bool {
    const MARKERS: [&str; 6] = ["Send", "Sync", "Copy", "Clone", "Unpin", "Sized"];
    const CALLED: [&str; 8] =
        ["Fn", "FnMut", "FnOnce", "AsyncFn", "AsyncFnMut", "AsyncFnOnce", "Future", "IntoFuture"];
    let names: Vec<String> = bounds_of(param, generics)
        .filter_map(|bound| match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last(),
            _ => None,
        })
        .map(|segment| segment.ident.to_string())
        .collect();
    let is_called = |name: &String| CALLED.contains(&name.as_str());
    names.iter().any(is_called)
        && names.iter().all(|name| is_called(name) || MARKERS.contains(&name.as_str()))
}

/// The bounds of a type parameter, wherever they stand.
fn bounds_of<'g>(
    param: &'g Ident,
    generics: &'g Generics,
) -> impl Iterator<Item = &'g TypeParamBound> {
    let own = generics.type_params().filter(move |one| one.ident == *param);
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let stated = predicates.filter_map(move |predicate| match predicate {
        WherePredicate::Type(predicate) => match &predicate.bounded_ty {
            Type::Path(path) if path.path.is_ident(param) => Some(&predicate.bounds),
            _ => None,
        },
        _ => None,
    });
    own.flat_map(|one| &one.bounds).chain(stated.flatten())
}

/// `generics` without the type and constant parameters `dropped`, and without what is said
/// of the others by them.
pub(crate) fn without(generics: &Generics, dropped: &[Ident]) -> Generics {
    if dropped.is_empty() {
        return generics.clone();
    }
    let mut generics = generics.clone();
    let params = std::mem::take(&mut generics.params);
    generics.params = params
        .into_iter()
        .filter(|param| match param {
            GenericParam::Lifetime(_) => true,
            GenericParam::Type(param) => !dropped.contains(&param.ident),
            GenericParam::Const(param) => !dropped.contains(&param.ident),
        })
        .collect();
    for param in generics.type_params_mut() {
        param.bounds = kept(&param.bounds, dropped);
    }
    if let Some(clause) = &mut generics.where_clause {
        let predicates = std::mem::take(&mut clause.predicates);
        clause.predicates =
            predicates.into_iter().filter_map(|one| kept_predicate(one, dropped)).collect();
    }
    generics
}

type Bounds = Punctuated<TypeParamBound, Token![+]>;

fn kept(bounds: &Bounds, dropped: &[Ident]) -> Bounds {
    let mentions = |bound: &TypeParamBound| {
        let mut mentioned = Mentioned::default();
        mentioned.visit_type_param_bound(bound);
        mentioned.any(dropped)
    };
    bounds.iter().filter(|bound| !mentions(bound)).cloned().collect()
}

fn kept_predicate(predicate: WherePredicate, dropped: &[Ident]) -> Option<WherePredicate> {
    let WherePredicate::Type(mut predicate) = predicate else { return Some(predicate) };
    if Mentioned::in_type(&predicate.bounded_ty).any(dropped) {
        return None;
    }
    predicate.bounds = kept(&predicate.bounds, dropped);
    (!predicate.bounds.is_empty()).then_some(WherePredicate::Type(predicate))
}

/// The names that occur in types.
#[derive(Default)]
pub(crate) struct Mentioned(Vec<String>);

impl Mentioned {
    pub(crate) fn in_type(ty: &Type) -> Self {
        let mut mentioned = Self::default();
        mentioned.visit_type(ty);
        mentioned
    }

    pub(crate) fn has(&self, name: &Ident) -> bool {
        self.0.contains(&name.to_string())
    }

    fn any(&self, names: &[Ident]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

impl<'ast> Visit<'ast> for Mentioned {
    fn visit_ident(&mut self, name: &'ast Ident) {
        self.0.push(name.to_string());
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0.push(lifetime.to_string());
    }

    /// A macro may stand for a type: its words are taken as they are.
    fn visit_macro(&mut self, invoked: &'ast Macro) {
        let words = invoked.tokens.to_string();
        let words = words.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.0.extend(words.map(str::to_owned));
        visit::visit_macro(self, invoked);
    }
}
