//! Makes the program quick to start where it is linked with the GNU C library: half of a hit of
//! `dogpile exec` is its start.
//!
//! The code that unwinds a panic is linked into the program, where the C compiler has it as an archive.
//! Otherwise it is a library of its own, and to load that is a fourteenth of a hit. The mathematical
//! library is loaded when it is first needed (`late_math.c`).

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LATE_MATH}");
    let is = |name, value| env::var(name).is_ok_and(|it| it == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    // The compiler of this machine has no archives for others.
    if env::var_os("HOST") != env::var_os("TARGET") {
        return;
    }
    // With a C library that is linked in, all of this is otherwise.
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        return;
    }
    if let Some(archive) = archive("libgcc_eh.a")
        && let Some(folder) = archive.parent()
    {
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=static=gcc_eh");
    }
    if let Some(object) = late_math() {
        println!("cargo::rustc-link-arg-bins={}", object.display());
    }
}

const LATE_MATH: &str = "src/late_math.c";

/// Returns what that is compiled to. Where it cannot be, the library is loaded at the start.
fn late_math() -> Option<PathBuf> {
    let object = PathBuf::from(env::var_os("OUT_DIR")?).join("late_math.o");
    let mut compiler = compiler();
    compiler.args(["-O2", "-fPIC", "-fno-builtin", "-c", LATE_MATH, "-o"]).arg(&object);
    compiler.output().ok()?.status.success().then_some(object)
}

/// Returns the program that links, which compiles C too.
fn compiler() -> Command {
    Command::new(env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into()))
}

/// Returns where the program that links finds an archive. It repeats the name of one that it does not.
fn archive(name: &str) -> Option<PathBuf> {
    let asked = compiler().arg(format!("-print-file-name={name}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim_end());
    path.is_absolute().then_some(path).filter(|path| path.is_file())
}
