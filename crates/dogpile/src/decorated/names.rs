//! Which function a key is of.

use std::any::type_name;
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::OnceLock;

use super::Key;
use crate::key::{KeyBuffer, Short};

/// The name of a function that is not in an `impl` block.
#[derive(Debug)]
pub struct FunctionName {
    module: &'static str,
    function: &'static str,
    /// The beginning of its keys: `module:function`.
    plain: &'static str,
    /// The position in its file.
    place: &'static str,
    /// The true beginning of its keys, once somebody has asked.
    found: OnceLock<Name>,
}

/// The beginning of a function's keys.
pub struct Name {
    text: Cow<'static, str>,
    /// The same with a bar, as it is written, if it is short.
    written: Option<Short>,
}

impl Name {
    fn new(text: Cow<'static, str>) -> Self {
        let mut buffer = KeyBuffer::new();
        // Writing to memory does not fail.
        let _ = write!(buffer, "{text}|");
        Self { text, written: buffer.into_short() }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.text).finish()
    }
}

/// The name of a function, as the beginning of its keys.
pub trait KeyName {
    /// Returns it as text.
    fn text(&self) -> &str;

    /// Writes it with a bar into an empty key.
    fn begin(&self, key: &mut Key);
}

impl KeyName for str {
    fn text(&self) -> &str {
        self
    }

    #[inline]
    fn begin(&self, key: &mut Key) {
        key.text.raw(self);
        key.text.raw_ascii(b'|');
    }
}

impl KeyName for Name {
    fn text(&self) -> &str {
        &self.text
    }

    #[inline]
    fn begin(&self, key: &mut Key) {
        match &self.written {
            Some(written) => key.text.begin_with(written),
            None => self.text.begin(key),
        }
    }
}

/// Returns the name that was given for a function.
pub fn given(name: &str) -> &str {
    name
}

impl FunctionName {
    pub const fn new(
        module: &'static str,
        function: &'static str,
        plain: &'static str,
        place: &'static str,
    ) -> Self {
        Self { module, function, plain, place, found: OnceLock::new() }
    }

    /// Returns `module:function` for a function of a module. One that is inside another
    /// function has the compiler's path of its own type `Of`, and its place in the file: the
    /// path does not tell the blocks of a function apart.
    #[inline]
    pub fn of<Of>(&'static self) -> &'static Name {
        self.found.get_or_init(|| Name::new(self.at(type_name::<Of>())))
    }

    /// Returns the same by a type `Here` inside the function.
    #[inline]
    pub fn around<Here>(&'static self) -> &'static Name {
        self.found.get_or_init(|| Name::new(self.at(function_of(type_name::<Here>()))))
    }

    fn at(&self, path: &str) -> Cow<'static, str> {
        if self.is_of_module(path) {
            return Cow::Borrowed(self.plain);
        }
        Cow::Owned(format!("{path}@{}", self.place))
    }

    fn is_of_module(&self, path: &str) -> bool {
        let ordinary = self.module.len() + "::".len() + self.function.len();
        if path.len() == ordinary && path.starts_with(self.module) {
            return true;
        }
        names_of(self.module).chain([self.function]).eq(path.split("::"))
    }
}

/// The names in a module's path, which has `r#` where a type's has none.
fn names_of(module: &str) -> impl Iterator<Item = &str> {
    module.split("::").map(|name| name.trim_start_matches("r#"))
}

/// Is an `impl` block of this path, in this module, inside a function? The path of a trait's
/// `impl` does not tell.
fn is_inside_a_function(owner: &str, module: &str) -> bool {
    if owner.starts_with('<') {
        return false;
    }
    let outer = match owner.split_once("::<impl ") {
        Some((outer, _)) => outer,
        None => base(owner).rsplit_once("::").map_or("", |(outer, _)| outer),
    };
    outer != module && !outer.split("::").eq(names_of(module))
}

/// The name of a function of an `impl` block, without the heap as long as it is short.
pub struct MethodName(KeyBuffer);

impl MethodName {
    /// Returns `Type:function`, where `Here` is a type inside the function. Where the
    /// function is not of the type's own `impl` block, the path of the trait or the block
    /// comes between. An `impl` block inside a function adds its `place`: there may be another
    /// one of the same path.
    pub fn of<Own: ?Sized, Here>(function: &str, module: &str, place: &str) -> Self {
        let (own, owner) = (type_name::<Own>(), owner(type_name::<Here>()));
        let mut name = Self(KeyBuffer::new());
        // Writing to memory does not fail.
        let _ = if base(own) == base(owner) {
            write!(name.0, "{own}:{function}")
        } else {
            write!(name.0, "{own}:{owner}:{function}")
        };
        if is_inside_a_function(owner, module) {
            let _ = write!(name.0, "@{place}");
        }
        name
    }

    /// Returns the name that was given, with the type behind it where that may be another
    /// one each time: in generic `impl` blocks, and in traits.
    pub fn given<Own: ?Sized, Here>(given: &str) -> Self {
        let (own, owner) = (type_name::<Own>(), owner(type_name::<Here>()));
        let is_trait = !owner.starts_with('<') && !owner.contains("::<impl ");
        let mut name = Self(KeyBuffer::new());
        let _ = if own.contains('<') || (is_trait && base(own) != base(owner)) {
            write!(name.0, "{given}<{own}>")
        } else {
            name.0.write_str(given)
        };
        name
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MethodName").field(&self.as_str()).finish()
    }
}

/// The function that the type `here` is inside of.
fn function_of(here: &str) -> &str {
    let mut path = here.rsplit_once("::").map_or(here, |(outer, _)| outer);
    while let Some(outer) = path.strip_suffix("::{{closure}}") {
        path = outer;
    }
    path
}

/// The `impl` block or trait of the function that the type `here` is inside of.
fn owner(here: &str) -> &str {
    let function = function_of(here);
    function.rsplit_once("::").map_or(function, |(owner, _)| owner)
}

/// A type's path without what it is generic in.
fn base(path: &str) -> &str {
    match path.find('<') {
        None | Some(0) => path,
        Some(at) => &path[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_from_inside_of_plain_and_async_functions() {
        assert_eq!(owner("c::Users::load::Here"), "c::Users");
        assert_eq!(owner("c::Users::load::{{closure}}::Here"), "c::Users");
        assert_eq!(owner("<u32 as c::Tr>::load::{{closure}}::{{closure}}::Here"), "<u32 as c::Tr>");
        assert_eq!(base("c::Repo<c::Users>"), "c::Repo");
        assert_eq!(base("<u32 as c::Tr>"), "<u32 as c::Tr>");
    }

    #[test]
    fn impl_blocks_inside_functions_are_told_from_those_of_modules() {
        for (owner, module) in [
            ("c::Users", "c"),
            ("c::r::Repo<c::Users>", "c::r"),
            ("c::mod::Users", "c::r#mod"),
            ("c::r::<impl c::Users>", "c::r"),
            ("<c::f::Users as c::Tr>", "c"),
        ] {
            assert!(!is_inside_a_function(owner, module), "{owner} in {module}");
        }
        for owner in ["c::f::Users", "c::f::{{closure}}::Users", "c::f::<impl c::Users>"] {
            assert!(is_inside_a_function(owner, "c"), "{owner}");
        }
    }

    #[test]
    fn raw_names_of_modules_are_names_of_modules() {
        static NAME: FunctionName = FunctionName::new("c::r#mod", "load", "c::r#mod:load", "1:1");
        assert!(NAME.is_of_module("c::mod::load"));
        assert!(!NAME.is_of_module("c::mod::outer::load"));
    }
}
