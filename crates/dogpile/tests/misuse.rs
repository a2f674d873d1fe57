//! What the compiler says to those who misuse the attributes: each file in `ui`
//! has the message beside it. `TRYBUILD=overwrite` writes them anew.
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
        assert_eq!(errors.len(), 1, "{}: {errors:#?}", path.display());
        files += 1;
    }
    assert!(files > 30, "{files}");
}
