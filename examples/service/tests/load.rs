//! The service under a short load: it answers, and the cache takes queries off the
//! database. That no read is older than allowed is checked by the program itself.

use std::process::Command;

#[test]
fn the_cache_takes_queries_off_the_database() {
    let program = env!("CARGO_BIN_EXE_dogpile-example-service");
    let output = Command::new(program).arg("2").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let queries = |row: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap();
        line.split('|').nth(4).unwrap().trim().parse().unwrap()
    };
    assert!(queries("| with the cache") < queries("| without"));
}
