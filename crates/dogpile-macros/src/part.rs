//! The code that writes a value into a key, by its type as it is written.
//!
//! Options, sequences, sets, maps, tuples and pointers are taken apart here, so that what is
//! in them may be of any type that can stand in a key alone. What is left is asked of the
//! compiler (`dogpile::__macro::Argument`).

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{quote, quote_spanned};
use syn::{GenericArgument, Ident, Index, PathArguments, Type, TypePath};

use crate::hygiene::hygienic;

/// The way in which a type is taken apart.
enum Form<'t> {
    /// The target.
    Pointer(&'t Type),
    Option(&'t Type),
    Sequence(&'t Type),
    Unordered(&'t Type),
    Map(&'t Type, &'t Type),
    UnorderedMap(&'t Type, &'t Type),
    Tuple(Vec<&'t Type>),
    /// Something else.
    Whole,
}

/// Writes the code for parts.
pub(crate) struct Parts<'c> {
    pub(crate) dogpile: &'c Tokens,
    /// The place at which errors are shown.
    pub(crate) span: Span,
}

impl Parts<'_> {
    /// An expression of a type with `KeyPart`, for `value`, a reference to a `ty`.
    pub(crate) fn part(&self, ty: &Type, value: &Tokens) -> Tokens {
        match form(ty) {
            Form::Whole => self.whole(value),
            Form::Pointer(inner) => self.part(inner, &quote_spanned!(self.span=> (&**#value))),
            _ => {
                let (dogpile, key) = (self.dogpile, hygienic("key"));
                let write = self.write(ty, value, &quote!(#key));
                quote!(#dogpile::__macro::written(|#key| { #write }))
            }
        }
    }

    fn item(&self) -> Ident {
        Ident::new("item", Span::mixed_site().located_at(self.span))
    }

    /// The same for a value whose type is not known.
    pub(crate) fn whole(&self, value: &Tokens) -> Tokens {
        let dogpile = self.dogpile;
        quote_spanned!(self.span=> (&&&&#dogpile::__macro::Argument(#value)).way().part(#value))
    }

    /// A statement that writes `value`, a reference to a `ty`, into `key`.
    pub(crate) fn write(&self, ty: &Type, value: &Tokens, key: &Tokens) -> Tokens {
        let dogpile = self.dogpile;
        let own = quote!(#dogpile::__macro);
        let item = self.item();
        match form(ty) {
            Form::Whole => {
                let part = self.whole(value);
                quote!(#own::write(&#part, #key);)
            }
            Form::Pointer(inner) => {
                self.write(inner, &quote_spanned!(self.span=> (&**#value)), key)
            }
            Form::Option(inner) => {
                let write = self.write_in_option(inner, &quote!(#item), key);
                quote!(#own::maybe((*#value).as_ref(), #key, |#item, #key| { #write });)
            }
            Form::Sequence(inner) => {
                let write = self.write(inner, &quote!(#item), key);
                quote!(#own::each((*#value).iter(), #key, |#item, #key| { #write });)
            }
            Form::Unordered(inner) => {
                let write = self.write(inner, &quote!(#item), key);
                quote!(#own::unordered((*#value).iter(), #key, |#item, #key| { #write });)
            }
            Form::Map(name, inner) => {
                let write = self.pair(name, inner, key);
                quote!(#own::each((*#value).iter(), #key, |#item, #key| { #write });)
            }
            Form::UnorderedMap(name, inner) => {
                let write = self.pair(name, inner, key);
                quote!(#own::unordered((*#value).iter(), #key, |#item, #key| { #write });)
            }
            Form::Tuple(types) => {
                let fields = types.iter().enumerate().map(|(index, ty)| {
                    let index = Index::from(index);
                    (*ty, quote!((&(*#value).#index)))
                });
                self.fields(&[], fields, key)
            }
        }
    }

    /// A statement that writes `names`, then fields, as one.
    pub(crate) fn fields<'t>(
        &self,
        names: &[&str],
        fields: impl Iterator<Item = (&'t Type, Tokens)>,
        key: &Tokens,
    ) -> Tokens {
        let dogpile = self.dogpile;
        let fields: Vec<Tokens> = fields.map(|(ty, value)| self.write(ty, &value, key)).collect();
        quote! {
            #dogpile::__macro::fields(
                &[
                    #(&|#key| #dogpile::__macro::name(#names, #key),)*
                    #(&|#key| { #fields },)*
                ],
                #key,
            );
        }
    }

    /// The entry of a map.
    fn pair(&self, name: &Type, inner: &Type, key: &Tokens) -> Tokens {
        let item = self.item();
        let both = [(name, quote!((#item.0))), (inner, quote!((#item.1)))];
        self.fields(&[], both.into_iter(), key)
    }

    /// The same in an option: what may look like nothing gets a sign.
    fn write_in_option(&self, ty: &Type, value: &Tokens, key: &Tokens) -> Tokens {
        let dogpile = self.dogpile;
        match form(ty) {
            Form::Whole => {
                let part = self.whole(value);
                quote!(#dogpile::__macro::in_option(&#part, #key);)
            }
            Form::Pointer(inner) => {
                self.write_in_option(inner, &quote_spanned!(self.span=> (&**#value)), key)
            }
            Form::Option(_) => {
                let write = self.write(ty, value, key);
                quote!(#dogpile::__macro::some(#key); #write)
            }
            _ => self.write(ty, value, key),
        }
    }
}

fn form(ty: &Type) -> Form<'_> {
    match ty {
        Type::Paren(inner) => form(&inner.elem),
        Type::Group(inner) => form(&inner.elem),
        Type::Reference(to) => Form::Pointer(&to.elem),
        Type::Slice(of) => Form::Sequence(&of.elem),
        Type::Array(of) => Form::Sequence(&of.elem),
        Type::Tuple(tuple) => Form::Tuple(tuple.elems.iter().collect()),
        Type::Path(path) => form_of_path(path),
        _ => Form::Whole,
    }
}

fn form_of_path(path: &TypePath) -> Form<'_> {
    let Some(last) = path.path.segments.last() else { return Form::Whole };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Form::Whole };
    let types: Vec<&Type> = arguments
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
        .collect();
    match (last.ident.to_string().as_str(), &types[..]) {
        ("Box" | "Arc" | "Rc" | "Cow", [inner]) => Form::Pointer(inner),
        ("Option", [inner]) => Form::Option(inner),
        ("Vec" | "VecDeque" | "LinkedList" | "BTreeSet", [inner]) => Form::Sequence(inner),
        ("HashSet", [inner, ..]) => Form::Unordered(inner),
        ("BTreeMap", [name, inner]) => Form::Map(name, inner),
        ("HashMap", [name, inner, ..]) => Form::UnorderedMap(name, inner),
        _ => Form::Whole,
    }
}
