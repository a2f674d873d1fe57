//! The options between the attribute's parentheses.

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
    pub(crate) stale_while_revalidate: Option<Tokens>,
    pub(crate) stale_if_error: Option<Tokens>,
    pub(crate) retry_after: Option<Tokens>,
    pub(crate) none: Option<Tokens>,
    pub(crate) lifetime: Option<Expr>,
    pub(crate) remember_failures: Option<Tokens>,
    pub(crate) early: Option<Tokens>,
    pub(crate) jitter: Option<Expr>,
    pub(crate) soft_timeout: Option<Tokens>,
    pub(crate) creation_timeout: Option<Tokens>,
    pub(crate) wait_timeout: Option<Tokens>,
    pub(crate) on_wait_timeout: Option<Expr>,
    pub(crate) should_cache: Option<Expr>,
    pub(crate) cache_none: Option<LitBool>,
    pub(crate) key: Option<Vec<Expr>>,
    pub(crate) key_generator: Option<Expr>,
    pub(crate) to_str: Option<Expr>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) previous: Option<Ident>,
    pub(crate) background: bool,
    pub(crate) fallible: bool,
    pub(crate) resilient: bool,
    pub(crate) share_failures: bool,
    pub(crate) associated: bool,
    pub(crate) in_memory: bool,
    /// Nothing is to stand beside the function.
    pub(crate) is_alone: bool,
}

const KNOWN: &str = "`region`, `expiration`, `stale_while_revalidate`, `stale_if_error`, `retry_after`, \
    `lifetime`, `none`, `remember_failures`, `early`, `jitter`, `soft_timeout`, `creation_timeout`, `wait_timeout`, `on_wait_timeout`, \
    `should_cache`, `cache_none`, `key`, `key_generator`, `to_str`, `skip`, `previous`, `name`, `namespace`, \
    `background`, `fallible`, `resilient`, `share_failures`, `associated`, `companions`, `in_memory`, `crate`";

/// The option names of other caches, and ours.
const MEANT: [(&str, &str); 12] = [
    ("ttl", "expiration"),
    ("time", "expiration"),
    ("expire", "expiration"),
    ("expiration_time", "expiration"),
    ("timeout", "wait_timeout"),
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
    stale_while_revalidate: Option<Expr>,
    stale_if_error: Option<Expr>,
    retry_after: Option<Expr>,
    none: Option<Expr>,
    lifetime: Option<Expr>,
    remember_failures: Option<Expr>,
    early: Option<Expr>,
    jitter: Option<Expr>,
    soft_timeout: Option<Expr>,
    creation_timeout: Option<Expr>,
    wait_timeout: Option<Expr>,
    on_wait_timeout: Option<Expr>,
    should_cache: Option<Expr>,
    cache_none: Option<LitBool>,
    companions: Option<LitBool>,
    key: Option<Vec<Expr>>,
    key_generator: Option<Expr>,
    to_str: Option<Expr>,
    skip: Vec<Ident>,
    previous: Option<Ident>,
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
            "stale_while_revalidate" => rest.stale_while_revalidate = Some(value()?),
            "stale_if_error" => rest.stale_if_error = Some(value()?),
            "retry_after" => rest.retry_after = Some(value()?),
            "jitter" => rest.jitter = Some(value()?),
            "none" => rest.none = Some(value()?),
            "lifetime" => rest.lifetime = Some(value()?),
            "remember_failures" => rest.remember_failures = Some(value()?),
            "early" => rest.early = Some(value()?),
            "soft_timeout" => rest.soft_timeout = Some(value()?),
            "creation_timeout" => rest.creation_timeout = Some(value()?),
            "wait_timeout" => rest.wait_timeout = Some(value()?),
            "on_wait_timeout" => rest.on_wait_timeout = Some(value()?),
            "should_cache" => rest.should_cache = Some(value()?),
            "cache_none" => rest.cache_none = Some(meta.value()?.parse()?),
            "companions" => rest.companions = Some(meta.value()?.parse()?),
            "key" => rest.key = Some(parts(value()?)),
            "key_generator" => rest.key_generator = Some(value()?),
            "to_str" => rest.to_str = Some(value()?),
            "skip" => rest.skip = names(meta)?,
            "previous" => rest.previous = Some(one_name(meta)?),
            "background" | "fallible" | "resilient" | "share_failures" | "associated"
            | "in_memory" => {
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
        let dogpile = dogpile.map_or_else(self::dogpile, |path| quote!(#path));
        let region = region.ok_or_else(|| {
            let why = "say which region keeps the values: `#[cached(region = USERS)]`, with \
                `static USERS: Region = Region::new(\"users\");`";
            syn::Error::new(Span::call_site(), why)
        })?;
        refuse_bars(rest.name.as_ref())?;
        let flag = |name: &str| rest.flags.iter().any(|flag| flag == name);
        Ok(Options {
            region,
            background: flag("background"),
            fallible: flag("fallible"),
            resilient: flag("resilient"),
            share_failures: flag("share_failures"),
            associated: flag("associated"),
            in_memory: flag("in_memory"),
            is_alone: rest.companions.is_some_and(|companions| !companions.value),
            name: rest.name,
            namespace: rest.namespace,
            expiration: duration(rest.expiration, &dogpile)?,
            stale_while_revalidate: duration(rest.stale_while_revalidate, &dogpile)?,
            stale_if_error: duration(rest.stale_if_error, &dogpile)?,
            retry_after: duration(rest.retry_after, &dogpile)?,
            none: duration(rest.none, &dogpile)?,
            lifetime: rest.lifetime,
            remember_failures: duration(rest.remember_failures, &dogpile)?,
            early: rest.early.as_ref().map(|value| early(value, &dogpile)).transpose()?,
            jitter: rest.jitter,
            soft_timeout: duration(rest.soft_timeout, &dogpile)?,
            creation_timeout: duration(rest.creation_timeout, &dogpile)?,
            wait_timeout: duration(rest.wait_timeout, &dogpile)?,
            on_wait_timeout: rest.on_wait_timeout,
            should_cache: rest.should_cache,
            cache_none: rest.cache_none,
            key: rest.key,
            key_generator: rest.key_generator,
            to_str: rest.to_str,
            skip: rest.skip,
            previous: rest.previous,
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

/// The name of an argument in parentheses.
fn one_name(meta: &ParseNestedMeta<'_>) -> syn::Result<Ident> {
    let why = "name the argument that is given the value of before: `previous(known)`";
    if !meta.input.peek(syn::token::Paren) {
        return Err(meta.error(why));
    }
    match <[Ident; 1]>::try_from(names(meta)?) {
        Ok([name]) => Ok(name),
        Err(_) => Err(meta.error(why)),
    }
}

/// Keys of other functions begin with a name and a bar.
fn refuse_bars(name: Option<&Expr>) -> syn::Result<()> {
    match name {
        Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) if text.value().contains('|') => {
            let why = "a name has no `|`: that is what comes after it in the key";
            Err(syn::Error::new(text.span(), why))
        }
        _ => Ok(()),
    }
}

/// A literal such as `"5m"`, `5m` or `300`, in seconds, as a `Duration`; any other
/// expression as it is, evaluated at each call.
fn duration(value: Option<Expr>, dogpile: &Tokens) -> syn::Result<Option<Tokens>> {
    let Some(value) = value else { return Ok(None) };
    let Some(lit) = literal(&value) else { return Ok(Some(quote!(#value))) };
    let duration = match lit {
        Lit::Str(text) => parse_duration(&text.value()),
        Lit::Int(number) if is_integer_type(number.suffix()) => {
            number.base10_digits().parse().ok().map(std::time::Duration::from_secs)
        }
        Lit::Int(number) => {
            parse_duration(&format!("{}{}", number.base10_digits(), number.suffix()))
        }
        _ => None,
    };
    let Some(duration) = duration else {
        let why = "this is not a duration: write `5m`, `\"1h 30m\"`, `300` (seconds), or an \
            expression of type `Duration` or `Expiration`; units are `ms`, `s`, `m`, `h`, `d`, `w`";
        return Err(syn::Error::new(lit.span(), why));
    };
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    Ok(Some(quote!(#dogpile::__macro::Duration::new(#seconds, #nanoseconds))))
}

/// `"adaptive"`, or a share such as `0.8`, as an `Early`; any other expression as it is.
fn early(value: &Expr, dogpile: &Tokens) -> syn::Result<Tokens> {
    let Some(lit) = literal(value) else { return Ok(quote!(#value)) };
    match lit {
        Lit::Str(text) if text.value() == "adaptive" => Ok(quote!(#dogpile::Early::adaptive())),
        Lit::Float(share) if share.base10_parse().is_ok_and(|share: f64| share <= 1.0) => {
            Ok(quote!(#dogpile::Early::at(#share)))
        }
        _ => {
            let why = "this is not a moment: write `\"adaptive\"`, a share of the expiration such as \
                `0.8`, or an expression of type `Early`";
            Err(syn::Error::new(lit.span(), why))
        }
    }
}

/// The literal that an expression is, also in parentheses.
fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Paren(inner) => literal(&inner.expr),
        Expr::Group(inner) => literal(&inner.expr),
        _ => None,
    }
}

/// Is it what may stand behind a number of seconds?
fn is_integer_type(suffix: &str) -> bool {
    const TYPES: [&str; 13] = [
        "", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize",
    ];
    TYPES.contains(&suffix)
}

/// A duration as humantime reads it, but for its `M`: that is a month, and a slip of the
/// finger otherwise.
fn parse_duration(text: &str) -> Option<std::time::Duration> {
    if text.contains('M') { None } else { humantime::parse_duration(text).ok() }
}

/// The crate dogpile where no path to it is given.
pub(crate) fn dogpile() -> Tokens {
    quote!(::dogpile)
}
