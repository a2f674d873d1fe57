//! What the compiler says to those who misuse the attributes: each file in `ui`
//! has the message beside it. `TRYBUILD=overwrite` writes them anew.
#![cfg(feature = "macros")]

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
