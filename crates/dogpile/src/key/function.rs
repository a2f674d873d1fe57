//! The keys of decorated functions: `module:function|arg1 arg2`.

use std::fmt;

use super::text::{KeyPart, KeyText, Style};

/// The parts of a call's key: which function, and which arguments.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FunctionKey<'k> {
    /// `module:function`, or the name that was given.
    pub name: &'k str,
    /// The namespace, if there is one.
    pub namespace: Option<&'k str>,
    /// The arguments that count, with their names, in the order of the
    /// function's.
    pub arguments: &'k [(&'static str, &'k dyn KeyPart)],
}

impl<'k> FunctionKey<'k> {
    /// The parts of a key.
    pub const fn new(
        name: &'k str,
        namespace: Option<&'k str>,
        arguments: &'k [(&'static str, &'k dyn KeyPart)],
    ) -> Self {
        Self { name, namespace, arguments }
    }

    /// Writes the key, with the arguments in this order.
    #[inline]
    fn write<'a>(&self, key: &mut KeyText, arguments: impl Iterator<Item = &'a dyn KeyPart>) {
        key.raw(self.name);
        key.raw_ascii(b'|');
        if let Some(namespace) = self.namespace {
            key.namespace(namespace);
            key.raw("|");
        }
        for (index, argument) in arguments.enumerate() {
            if index > 0 {
                key.raw_ascii(b' ');
            }
            argument.write_key(key);
        }
    }

    /// Writes the usual key into an empty text. To return the text would be to copy it, which
    /// takes as long as a fifth of a hit.
    #[inline]
    pub(crate) fn write_escaped(&self, key: &mut KeyText) {
        self.write(key, self.arguments.iter().map(|(_, argument)| *argument));
    }

    fn python<'a>(&self, arguments: impl Iterator<Item = &'a dyn KeyPart>) -> String {
        let mut key = KeyText::empty(Style::Python);
        self.write(&mut key, arguments);
        key.as_str().to_owned()
    }
}

impl fmt::Debug for FunctionKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionKey")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("arguments", &self.arguments.len())
            .finish()
    }
}

/// Makes the key of a call.
pub type KeyGenerator = fn(&FunctionKey<'_>) -> String;

/// The default: `module:function|arg1 arg2`, or
/// `module:function|namespace|arg1 arg2`.
///
/// A space within an argument is written `\s`, a bar `\p`, a backslash twice, so that the
/// arguments `("a b", "c")` and `("a", "b c")` have different keys. Numbers and
/// ordinary text look as in Python's keys. `None` is `\N`; sequences, tuples, sets and maps
/// are `\[a\,b\,\]`. In a namespace a bar and a backslash are written in the same way.
pub fn escaped(function: &FunctionKey<'_>) -> String {
    let mut key = KeyText::escaped();
    function.write_escaped(&mut key);
    key.as_str().to_owned()
}

/// The format of dogpile.cache's `function_key_generator`, to share keys with a
/// Python function whose arguments have spaces in them, or are `None`, `True`
/// or `False`: arguments by their string form, joined by one space.
///
/// As there, different arguments can have one key: `("a b", "c")` and `("a", "b
/// c")` do.
pub fn python(function: &FunctionKey<'_>) -> String {
    let arguments = function.arguments.iter().map(|(_, argument)| *argument);
    function.python(arguments)
}

/// The format of dogpile.cache's `kwarg_function_key_generator`: the same as
/// [`python()`], with the arguments in the order of their names.
pub fn python_by_name(function: &FunctionKey<'_>) -> String {
    let mut arguments = function.arguments.to_vec();
    arguments.sort_by_key(|(name, _)| *name);
    let arguments = arguments.iter().map(|(_, argument)| *argument);
    function.python(arguments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(generator: KeyGenerator, arguments: &[(&'static str, &dyn KeyPart)]) -> String {
        generator(&FunctionKey::new("m:f", None, arguments))
    }

    #[test]
    fn formats_are_those_of_python() {
        let (text, yes, none) = ("a b", true, None::<u8>);
        let arguments: [(&str, &dyn KeyPart); 5] =
            [("z", &7), ("y", &text), ("x", &yes), ("w", &none), ("v", &1.0)];
        assert_eq!(key(escaped, &arguments), r"m:f|7 a\sb true \N 1");
        assert_eq!(key(python, &arguments), "m:f|7 a b True None 1.0");
        assert_eq!(key(python_by_name, &arguments), "m:f|1.0 None True a b 7");
        let spaced = FunctionKey::new("m:f", Some("ns"), &arguments[..1]);
        assert_eq!((escaped(&spaced), python(&spaced)), ("m:f|ns|7".into(), "m:f|ns|7".into()));
        assert_eq!(key(escaped, &[]), "m:f|");
    }

    #[test]
    fn structures_do_not_run_into_each_other() {
        let different: [&dyn KeyPart; 12] = [
            &vec!["a", "b"],
            &vec!["a,b"],
            &vec![r"a\,b"],
            &("a", "b"),
            &[""; 0],
            &[""; 1],
            &Some(Some("N")),
            &Some(None::<&str>),
            &None::<Option<&str>>,
            &Some(r"\N"),
            &vec![vec![1_u8, 2], vec![]],
            &vec![vec![1_u8], vec![2]],
        ];
        let keys: Vec<String> =
            different.iter().map(|part| key(escaped, &[("a", *part)])).collect();
        for (index, one) in keys.iter().enumerate() {
            // A pair is written as any other sequence of two.
            let equal = keys.iter().filter(|other| *other == one).count();
            assert_eq!(equal, if index == 0 || index == 3 { 2 } else { 1 }, "{one} in {keys:?}");
        }
    }

    #[test]
    fn a_namespace_does_not_run_into_the_arguments() {
        let key =
            |namespace, text: &str| escaped(&FunctionKey::new("m:f", namespace, &[("a", &text)]));
        assert_eq!(key(Some("a|b"), "c"), r"m:f|a\pb|c");
        let keys = [
            key(Some("a"), "b|c"),
            key(Some("a|b"), "c"),
            key(Some(r"a\pb"), "c"),
            key(None, "a|b|c"),
            key(None, "a|b\\|c"),
        ];
        let different: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(different.len(), keys.len(), "{keys:?}");
    }

    proptest! {
        #[test]
        fn different_arguments_have_different_keys(
            one in ("[a \\\\\\[,N|]{0,4}", "[a \\\\\\[,N|]{0,4}"),
            other in ("[a \\\\\\[,N|]{0,4}", "[a \\\\\\[,N|]{0,4}"),
        ) {
            let key_of = |pair: &(String, String)| key(escaped, &[("a", &pair.0), ("b", &pair.1)]);
            prop_assert_eq!(key_of(&one) == key_of(&other), one == other);
        }
    }
}
