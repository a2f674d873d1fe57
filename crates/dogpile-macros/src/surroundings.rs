//! Guesses at the item around a function. Only errors are made of it, never
//! code: where the file cannot be read, the compiler has to explain.

use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItem, ItemImpl, ItemTrait, TraitItem};

/// Is a method under this attribute in a trait's `impl`? Only if the file has no other of its
/// name under the attribute.
pub(crate) fn is_in_trait_impl(name: &Ident) -> bool {
    let Some(path) = proc_macro::Span::call_site().local_file() else { return false };
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    if !text.contains(" for ") {
        return false;
    }
    let Ok(file) = syn::parse_file(&text) else { return false };
    let mut found = Found { name, in_trait_impls: 0, elsewhere: 0 };
    found.visit_file(&file);
    found.in_trait_impls > 0 && found.elsewhere == 0
}

/// The places of cached methods, by their names.
struct Found<'n> {
    name: &'n Ident,
    in_trait_impls: usize,
    elsewhere: usize,
}

impl Found<'_> {
    fn is_meant(&self, name: &Ident, attributes: &[Attribute]) -> bool {
        let is_ours =
            |one: &Attribute| one.path().segments.last().is_some_and(|last| last.ident == "cached");
        name == self.name && attributes.iter().any(is_ours)
    }
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_impl(&mut self, block: &'ast ItemImpl) {
        let meant = block.items.iter().filter(|item| match item {
            ImplItem::Fn(method) => self.is_meant(&method.sig.ident, &method.attrs),
            _ => false,
        });
        let count = meant.count();
        if block.trait_.is_some() {
            self.in_trait_impls += count;
        } else {
            self.elsewhere += count;
        }
        visit::visit_item_impl(self, block);
    }

    fn visit_item_trait(&mut self, block: &'ast ItemTrait) {
        let meant = block.items.iter().filter(|item| match item {
            TraitItem::Fn(method) => self.is_meant(&method.sig.ident, &method.attrs),
            _ => false,
        });
        self.elsewhere += meant.count();
        visit::visit_item_trait(self, block);
    }
}
