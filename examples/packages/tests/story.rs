//! The example does what it says.

use std::process::Command;

#[test]
fn two_processes_have_the_packages_of_this_machine() {
    let output = Command::new(env!("CARGO_BIN_EXE_dogpile-example-packages")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: u32 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(rows > 50, "every Debian has some");
    for said in [
        "office: loaded",
        ", 0 loads",
        "shop: revision 1 of those it has seen, bash is in shells",
        "need libc6",
        "office: bash moves from shells to antiques; pushing",
        "shop: revision 2 of those it has seen, bash is in antiques",
        "office: pushed in",
    ] {
        assert!(text.contains(said), "{said}");
    }
}
