//! `#[derive(KeyPart)]`: all fields of a struct or an enum as one part of a key.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DataEnum, DeriveInput, Error, Field, Fields, Path, Result, Type, Variant,
    parse_quote,
};

use crate::hygiene::{hygienic, own_span};
use crate::options;
use crate::part::Parts;

pub(crate) fn expand(input: DeriveInput) -> Result<Tokens> {
    let own = Attributes::parse(&input.attrs)?;
    let dogpile = own.dogpile.map_or_else(options::dogpile, |path| quote!(#path));
    if own.skip {
        return Err(Error::new(input.ident.span(), "`skip` is for fields"));
    }
    let derive = Derive { dogpile, key: hygienic("key") };
    let (write, is_option) = match &input.data {
        Data::Struct(data) => (derive.structure(&data.fields)?, may_be_option(&data.fields)?),
        Data::Enum(data) => (derive.enumeration(data)?, false),
        Data::Union(data) => {
            let why =
                "a union does not say which of its fields is there: implement `KeyPart` by hand";
            return Err(Error::new(data.union_token.span(), why));
        }
    };
    Ok(derive.implementation(input, &write, is_option))
}

/// The content of `#[key_part(..)]`.
#[derive(Default)]
struct Attributes {
    dogpile: Option<Path>,
    skip: bool,
}

impl Attributes {
    fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = Self::default();
        for attribute in attributes.iter().filter(|one| one.path().is_ident("key_part")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    parsed.skip = true;
                } else if meta.path.is_ident("crate") {
                    parsed.dogpile = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("unknown option: known are `skip` and `crate`"));
                }
                Ok(())
            })?;
        }
        Ok(parsed)
    }
}

/// The fields that count, with their positions.
fn kept(fields: &Fields) -> Result<Vec<(usize, &Field)>> {
    let mut kept = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        if !Attributes::parse(&field.attrs)?.skip {
            kept.push((index, field));
        }
    }
    Ok(kept)
}

/// Could it look like an option? A struct of one unnamed field looks like the field.
fn may_be_option(fields: &Fields) -> Result<bool> {
    const NEVER: [&str; 18] = [
        "String", "str", "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize",
        "u8", "u16", "u32", "u64", "u128", "usize",
    ];
    let kept = kept(fields)?;
    let ([(_, field)], Fields::Unnamed(_)) = (&kept[..], fields) else { return Ok(false) };
    let is_plain = match &field.ty {
        Type::Path(path) => NEVER.iter().any(|name| path.path.is_ident(name)),
        _ => false,
    };
    Ok(!is_plain)
}

struct Derive {
    dogpile: Tokens,
    key: syn::Ident,
}

impl Derive {
    fn parts(&self, span: Span) -> Parts<'_> {
        Parts { dogpile: &self.dogpile, span: own_span(span) }
    }

    fn structure(&self, fields: &Fields) -> Result<Tokens> {
        let value = |index: usize, field: &Field| {
            let position = syn::Index::from(index);
            field
                .ident
                .as_ref()
                .map_or_else(|| quote!((&self.#position)), |name| quote!((&self.#name)))
        };
        let kept = kept(fields)?;
        if let ([(index, field)], Fields::Unnamed(_)) = (&kept[..], fields) {
            let parts = self.parts(field.ty.span());
            return Ok(parts.write(&field.ty, &value(*index, field), &self.key()));
        }
        Ok(self.fields(&[], kept.into_iter().map(|(index, field)| (field, value(index, field)))))
    }

    fn enumeration(&self, data: &DataEnum) -> Result<Tokens> {
        let arms = data.variants.iter().map(|variant| self.variant(variant));
        let arms = arms.collect::<Result<Vec<_>>>()?;
        // An enum without variants has no values.
        Ok(if arms.is_empty() { quote!(match *self {}) } else { quote!(match self { #(#arms)* }) })
    }

    fn variant(&self, variant: &Variant) -> Result<Tokens> {
        let (dogpile, key, ident) = (&self.dogpile, &self.key, &variant.ident);
        let text = ident.unraw().to_string();
        if matches!(variant.fields, Fields::Unit) {
            return Ok(quote!(Self::#ident => #dogpile::__macro::name(#text, #key),));
        }
        let kept = kept(&variant.fields)?;
        let bound = |index: usize| format_ident!("field_{index}", span = Span::mixed_site());
        let patterns = kept.iter().map(|(index, field)| {
            let (bound, position) = (bound(*index), syn::Index::from(*index));
            let named = field.ident.as_ref().map(|name| quote!(#name: #bound));
            named.unwrap_or_else(|| quote!(#position: #bound))
        });
        let patterns: Vec<Tokens> = patterns.collect();
        let values = kept.iter().map(|(index, field)| {
            let bound = bound(*index);
            (*field, quote!((#bound)))
        });
        let write = self.fields(&[&text], values);
        Ok(quote!(Self::#ident { #(#patterns,)* .. } => { #write }))
    }

    fn key(&self) -> Tokens {
        let key = &self.key;
        quote!(#key)
    }

    fn fields<'f>(
        &self,
        names: &[&str],
        fields: impl Iterator<Item = (&'f Field, Tokens)>,
    ) -> Tokens {
        let (dogpile, key) = (&self.dogpile, &self.key);
        let writes = fields.map(|(field, value)| {
            self.parts(field.ty.span()).write(&field.ty, &value, &self.key())
        });
        let writes: Vec<Tokens> = writes.collect();
        quote! {
            #dogpile::__macro::fields(
                &[
                    #(&|#key| #dogpile::__macro::name(#names, #key),)*
                    #(&|#key| { #writes },)*
                ],
                #key,
            );
        }
    }

    fn implementation(&self, input: DeriveInput, write: &Tokens, is_option: bool) -> Tokens {
        let (dogpile, key, name) = (&self.dogpile, &self.key, &input.ident);
        let mut generics = input.generics;
        for param in generics.type_params_mut() {
            param.bounds.push(parse_quote!(#dogpile::key::KeyPart));
        }
        let (params, arguments, clause) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #params #dogpile::key::KeyPart for #name #arguments #clause {
                fn write_key(&self, #key: &mut #dogpile::key::KeyText) {
                    use #dogpile::__macro::{
                        HasDisplay as _, HasElements as _, HasKeyPart as _, HasNothing as _,
                    };
                    #write
                }

                fn is_option(&self) -> bool {
                    #is_option
                }
            }
        }
    }
}
