//! What is between the attribute's parentheses.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream as Tokens};
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Ident, Lit, LitBool, Path, Token, parenthesized};

/// The options, as they were written.
#[expect(clippy::struct_excessive_bools, reason = "they are flags of the user's")]
pub(crate) struct Options {
    /// The path of the crate dogpile.
    pub(crate) dogpile: Tokens,
    pub(crate) region: Expr,
    pub(crate) name: Option<Expr>,
    pub(crate) namespace: Option<Expr>,
    pub(crate) expiration: Option<Tokens>,
    pub(crate) stale_limit: Option<Tokens>,
    pub(crate) wait_limit: Option<Tokens>,
    pub(crate) on_timeout: Option<Expr>,
    pub(crate) should_cache: Option<Expr>,
    pub(crate) cache_none: Option<LitBool>,
    pub(crate) key: Option<Vec<Expr>>,
    pub(crate) key_generator: Option<Expr>,
    pub(crate) to_str: Option<Expr>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) background: bool,
    pub(crate) fallible: bool,
    pub(crate) associated: bool,
    pub(crate) local: bool,
}

const KNOWN: &str = "`region`, `expiration`, `stale_limit`, `wait_limit`, `on_timeout`, \
    `should_cache`, `cache_none`, `key`, `key_generator`, `to_str`, `skip`, `name`, `namespace`, \
    `background`, `fallible`, `associated`, `local`, `crate`";

/// What users of other caches may write.
const MEANT: [(&str, &str); 12] = [
    ("ttl", "expiration"),
    ("time", "expiration"),
    ("expire", "expiration"),
    ("expiration_time", "expiration"),
    ("timeout", "wait_limit"),
    ("cache", "region"),
    ("convert", "key"),
    ("condition", "should_cache"),
    ("should_cache_fn", "should_cache"),
    ("function_key_generator", "key_generator"),
    ("result", "fallible"),
    ("ignore", "skip"),
];

impl Options {
    pub(crate) fn parse(tokens: Tokens) -> syn::Result<Self> {
        let mut parsed = Parsed::default();
        let mut seen: Vec<String> = Vec::new();
        syn::meta::parser(|meta| {
            let name = meta.path.get_ident().map(Ident::unraw).map(|name| name.to_string());
            let name = name.unwrap_or_default();
            if seen.contains(&name) {
                return Err(meta.error(format!("`{name}` is given twice")));
            }
            seen.push(name.clone());
            parsed.take(&name, &meta)
        })
        .parse2(tokens)?;
        parsed.finish()
    }
}

/// Options that are being read.
#[derive(Default)]
struct Parsed {
    dogpile: Option<Path>,
    region: Option<Expr>,
    rest: Rest,
}

/// All that may be missing.
#[derive(Default)]
struct Rest {
    name: Option<Expr>,
    namespace: Option<Expr>,
    expiration: Option<Expr>,
    stale_limit: Option<Expr>,
    wait_limit: Option<Expr>,
    on_timeout: Option<Expr>,
    should_cache: Option<Expr>,
    cache_none: Option<LitBool>,
    key: Option<Vec<Expr>>,
    key_generator: Option<Expr>,
    to_str: Option<Expr>,
    skip: Vec<Ident>,
    flags: Vec<String>,
}

impl Parsed {
    fn take(&mut self, name: &str, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let rest = &mut self.rest;
        let value = || meta.value()?.parse::<Expr>();
        match name {
            "region" => self.region = Some(value()?),
            "crate" => self.dogpile = Some(meta.value()?.parse()?),
            "name" => rest.name = Some(value()?),
            "namespace" => rest.namespace = Some(value()?),
            "expiration" => rest.expiration = Some(value()?),
            "stale_limit" => rest.stale_limit = Some(value()?),
            "wait_limit" => rest.wait_limit = Some(value()?),
            "on_timeout" => rest.on_timeout = Some(value()?),
            "should_cache" => rest.should_cache = Some(value()?),
            "cache_none" => rest.cache_none = Some(meta.value()?.parse()?),
            "key" => rest.key = Some(parts(value()?)),
            "key_generator" => rest.key_generator = Some(value()?),
            "to_str" => rest.to_str = Some(value()?),
            "skip" => rest.skip = names(meta)?,
            "background" | "fallible" | "associated" | "local" => {
                if !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                    return Err(meta.error(format!("`{name}` takes no value")));
                }
                rest.flags.push(name.to_owned());
            }
            other => return Err(unknown(other, meta)),
        }
        Ok(())
    }

    fn finish(self) -> syn::Result<Options> {
        let Self { dogpile, region, rest } = self;
        let dogpile = dogpile.map_or_else(find_dogpile, |path| quote!(#path));
        let region = region.ok_or_else(|| {
            let why = "say which region keeps the values: `#[cached(region = USERS)]`, with \
                `static USERS: Region = Region::new(\"users\");`";
            syn::Error::new(Span::call_site(), why)
        })?;
        if let (Some(key), true) = (&rest.key, !rest.skip.iter().all(|name| name == "self")) {
            let why = "give `key` or `skip`: what `key` does not name is not in the key";
            let place = key.first().map_or_else(Span::call_site, syn::spanned::Spanned::span);
            return Err(syn::Error::new(place, why));
        }
        let flag = |name: &str| rest.flags.iter().any(|flag| flag == name);
        Ok(Options {
            region,
            background: flag("background"),
            fallible: flag("fallible"),
            associated: flag("associated"),
            local: flag("local"),
            name: rest.name,
            namespace: rest.namespace,
            expiration: duration(rest.expiration, &dogpile)?,
            stale_limit: duration(rest.stale_limit, &dogpile)?,
            wait_limit: duration(rest.wait_limit, &dogpile)?,
            on_timeout: rest.on_timeout,
            should_cache: rest.should_cache,
            cache_none: rest.cache_none,
            key: rest.key,
            key_generator: rest.key_generator,
            to_str: rest.to_str,
            skip: rest.skip,
            dogpile,
        })
    }
}

fn unknown(name: &str, meta: &ParseNestedMeta<'_>) -> syn::Error {
    let meant = MEANT.iter().find(|(other, _)| *other == name);
    let hint = match meant {
        Some((_, ours)) => format!("here it is called `{ours}`"),
        None => format!("known are {KNOWN}"),
    };
    meta.error(format!("there is no option `{name}`: {hint}"))
}

/// The parts of a key: those of a tuple, or one.
fn parts(key: Expr) -> Vec<Expr> {
    match key {
        Expr::Tuple(tuple) => tuple.elems.into_iter().collect(),
        Expr::Paren(paren) => vec![*paren.expr],
        one => vec![one],
    }
}

fn names(meta: &ParseNestedMeta<'_>) -> syn::Result<Vec<Ident>> {
    if !meta.input.peek(syn::token::Paren) {
        return Err(meta.error("name the arguments: `skip(db, trace_id)`"));
    }
    let inside;
    parenthesized!(inside in meta.input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&inside, Ident::parse_any)?;
    Ok(names.into_iter().collect())
}

/// A literal such as `"5m"` or `300`, in seconds, as a `Duration`; any other
/// expression as it is, evaluated at each call.
fn duration(value: Option<Expr>, dogpile: &Tokens) -> syn::Result<Option<Tokens>> {
    let Some(value) = value else { return Ok(None) };
    let Expr::Lit(ExprLit { lit, .. }) = &value else { return Ok(Some(quote!(#value))) };
    let wrong = || {
        let why = "this is no duration: write `\"5m\"`, `\"1h 30m\"`, `300` (seconds), or an \
            expression of type `Duration` or `Expiration`";
        syn::Error::new(lit.span(), why)
    };
    let duration = match lit {
        Lit::Str(text) => humantime::parse_duration(&text.value()).map_err(|_| wrong())?,
        Lit::Int(seconds) => {
            std::time::Duration::from_secs(seconds.base10_parse().map_err(|_| wrong())?)
        }
        _ => return Err(wrong()),
    };
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    Ok(Some(quote!(#dogpile::__macro::Duration::new(#seconds, #nanoseconds))))
}

/// The crate dogpile by the name that it has in the user's `Cargo.toml`.
fn find_dogpile() -> Tokens {
    // Its own tests and examples are crates of their own, and use it by its name.
    let name = match crate_name("dogpile") {
        Ok(FoundCrate::Name(name)) => name,
        _ => "dogpile".to_owned(),
    };
    let name = Ident::new(&name, Span::call_site());
    quote!(::#name)
}
