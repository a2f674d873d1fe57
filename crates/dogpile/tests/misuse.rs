//! The compiler's messages to those who misuse the attributes: each file in `ui`
//! has the message beside it. `TRYBUILD=overwrite` writes them again.
#![cfg(feature = "macros")]

#[test]
fn mistakes_are_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

#[test]
fn one_mistake_is_one_error() {
    let mut files = 0;
    for file in std::fs::read_dir("tests/ui").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "stderr") {
            continue;
        }
        let told = std::fs::read_to_string(&path).unwrap();
        let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("error")).collect();
        // That a type is not a result is told of the function and of its companions.
        let is_told_twice = path.ends_with("fallible_without_a_result.stderr");
        let most = if is_told_twice { 2 } else { 1 };
        assert!((1..=most).contains(&errors.len()), "{}: {errors:#?}", path.display());
        files += 1;
    }
    assert!(files > 30, "{files}");
}
