//! The functions that open the mathematical library when they are first called, in a program of
//! their own that is not linked with it.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

const MAIN: &str = r#"
#include <stdio.h>
double log(double), log10(double), pow(double, double);
int main(void) {
    for (int call = 0; call < 2; call++)
        printf("%.17g %.17g %.17g\n", log(5), log10(5), pow(5, 0.3));
    return 0;
}"#;

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_function_is_that_of_the_library() {
    let folder = TempDir::new().unwrap();
    let [source, program] = ["main.c", "main"].map(|name| folder.path().join(name));
    fs::write(&source, MAIN).unwrap();
    let late = concat!(env!("CARGO_MANIFEST_DIR"), "/src/late_math.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-fno-builtin", late]).arg(&source).arg("-o").arg(&program);
    told(&compiler.output().unwrap());
    let numbers = told(&Command::new(&program).output().unwrap());
    let bits = |number: &str| number.parse::<f64>().unwrap().to_bits();
    let numbers: Vec<u64> = numbers.split_whitespace().map(bits).collect();
    let expected = [5_f64.ln(), 5_f64.log10(), 5_f64.powf(0.3)].map(f64::to_bits);
    assert_eq!(numbers, [expected, expected].concat());
    let loaded = Command::new(&program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    assert!(!told(&loaded).contains("libm.so"), "at the start");
}
