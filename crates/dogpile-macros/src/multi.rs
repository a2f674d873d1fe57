//! `#[cached_multi]`: functions of many keys.

use proc_macro2::TokenStream as Tokens;
use syn::{ItemFn, Result};

use crate::options::Options;

pub(crate) fn expand(_options: Options, _item: ItemFn) -> Result<Tokens> {
    unimplemented!()
}
