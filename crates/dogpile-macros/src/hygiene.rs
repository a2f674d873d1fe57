//! Names and places of generated code: whose they are, and where errors point to.

use proc_macro2::{Group, Ident, Span, TokenStream as Tokens, TokenTree};

/// A name of ours that meets none of the function's.
pub(crate) fn hygienic(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The same name, as written by a macro at the same place.
pub(crate) fn own_ident(name: &Ident) -> Ident {
    let mut name = name.clone();
    name.set_span(own_span(name.span()));
    name
}

pub(crate) fn own_span(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// The same code at another place.
pub(crate) fn at(span: Span, tokens: &Tokens) -> Tokens {
    let moved = tokens.clone().into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    moved.collect()
}

/// The same code, as written by a macro at the same places.
pub(crate) fn own(tokens: Tokens) -> Tokens {
    let own = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => {
            let mut same = Group::new(group.delimiter(), own(group.stream()));
            same.set_span(own_span(group.span()));
            TokenTree::Group(same)
        }
        // Which crate `$crate` is, its place says.
        TokenTree::Ident(name) if name == "$crate" => TokenTree::Ident(name),
        mut token => {
            token.set_span(own_span(token.span()));
            token
        }
    });
    own.collect()
}
