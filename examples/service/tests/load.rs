//! The service under a short load: it answers, and the cache takes queries off the
//! database. That no read is older than allowed is checked by the program itself.

use std::process::Command;

#[test]
fn the_cache_takes_queries_off_the_database() {
    let program = env!("CARGO_BIN_EXE_dogpile-example-service");
    let output = Command::new(program).args(["3", "1"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Per request: with the cache there are more of those.
    let share = |row: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap();
        let cell = |index| line.split('|').nth(index).unwrap().trim().parse::<f64>().unwrap();
        cell(4) / cell(2)
    };
    let (cached, plain) = (share("| with the cache"), share("| without"));
    assert!(cached < plain, "{cached} queries a request with the cache, {plain} without");
}
