//! `cargo xtask`: the chores of this repository.

mod circles;
mod compile_time;
mod environment;
mod package;
mod python;
mod python_package;
mod run;
mod servers;
mod smallest_program;
mod valkey;
mod words;

use std::process::ExitCode;

use run::{Error, Step, cargo, program};

const USAGE: &str = "\
cargo xtask test            all checks and tests, as CI runs them
cargo xtask python          what the tests need of Python, into `target/python`
cargo xtask python-package  the wheel of the Python package into `target/wheels`, tried where nothing else is; with `test`, its tests too
cargo xtask valkey          the tests of the Redis backend on Valkey servers
cargo xtask package         packages what is published, without building it, and looks what is in it
cargo xtask servers         installs the servers that the tests start (Debian packages)
cargo xtask bench [ARGS]    the benchmarks beside other caches (`--quick`, `--json`; `--only=python`: the Python package)
cargo xtask compile-time    what the smallest program and many decorated functions take to compile, beside others
cargo xtask history [ARGS]  the history checker (`--help` says what it checks, and what can be chosen)
cargo xtask fuzz [SECONDS]  every fuzz target for a while (needs a nightly toolchain)
cargo xtask miri            the tests of `unsafe` code under Miri (needs a nightly toolchain with it)
cargo xtask sanitizer       the tests of `unsafe` code that Miri cannot run, under AddressSanitizer (needs a nightly toolchain)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["test"] => test(),
        ["package"] => package::check(),
        ["servers"] => servers::install(),
        ["python"] => python::install(),
        ["python-package"] => python_package::build().map(drop),
        ["python-package", "test"] => python_package::test(false),
        ["python-package", "test", "whole"] => python_package::test(true),
        ["valkey"] => on_valkey(),
        ["bench", ref rest @ ..] => bench(rest),
        ["history", ref rest @ ..] => history(rest),
        ["compile-time"] => smallest_program::run().and_then(|()| compile_time::run()),
        ["miri"] => miri().run(),
        ["sanitizer"] => sanitizer().run(),
        ["fuzz"] => fuzz("60"),
        ["fuzz", seconds] => fuzz(seconds),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Features of the library that must build by themselves.
const FEATURES: [&str; 21] = [
    "default",
    "testing",
    "macros",
    "memory",
    "serialized",
    "near",
    "file",
    "redis",
    "memcached",
    "collections",
    "tls",
    "tokio",
    "msgpack",
    "pickle",
    "sha1",
    "config",
    "toml",
    "compression",
    "encryption",
    "metrics",
    "tracing",
];

fn test() -> Result<(), Error> {
    cargo(["fmt", "--all", "--check"]).named("formatting").run()?;
    words::check()?;
    circles::check()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-Dwarnings"];
    cargo(clippy).named("lints").run()?;
    let doc = ["doc", "--workspace", "--no-deps", "--all-features"];
    cargo(doc).env("RUSTDOCFLAGS", "-Dwarnings").named("documentation").run()?;
    package::check()?;
    features()?;
    servers::install()?;
    python::install()?;
    cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]).named("tests").run()?;
    valkey::test()?;
    python_package::test(false)?;
    examples()?;
    model_checks()
}

fn on_valkey() -> Result<(), Error> {
    servers::install()?;
    python::install()?;
    valkey::test()
}

fn features() -> Result<(), Error> {
    let alone = |feature| {
        let check = ["check", "-p", "dogpile", "--no-default-features", "--features", feature];
        cargo(check).env("RUSTFLAGS", "-Dwarnings").target_dir("target-features")
    };
    alone("").named("no features").run()?;
    for feature in FEATURES {
        alone(feature).named(&format!("feature {feature} alone")).run()?;
    }
    for feature in ["sqlx", "sea-orm", "diesel", "diesel-async", "axum"] {
        let check = ["check", "-p", "dogpile-orm", "--features", feature];
        let check = cargo(check).env("RUSTFLAGS", "-Dwarnings").target_dir("target-features");
        check.named(&format!("dogpile-orm for {feature} alone")).run()?;
    }
    few_dependencies()?;
    // Beside other members, a package has the features of their dependencies too.
    for package in ["dogpile-testkit", "dogpile-cli"] {
        let check = cargo(["check", "-p", package]).target_dir("target-features");
        check.named(&format!("{package} alone")).run()?;
    }
    Ok(())
}

/// A program that keeps objects in memory compiles nothing that makes bytes of them.
fn few_dependencies() -> Result<(), Error> {
    let tree =
        ["tree", "-p", "dogpile", "--edges", "normal", "--prefix", "none", "--format", "{lib}"];
    let tree = std::process::Command::new("cargo").args(tree).output()?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let has = |name: &str| tree.lines().any(|line| line == name);
    let heavy = ["bytes", "erased_serde", "serde_json"].into_iter().find(|name| has(name));
    match heavy {
        None if has("quick_cache") => Ok(()),
        None => Err(Error("cargo tree does not show what dogpile depends on".to_owned())),
        Some(heavy) => Err(Error(format!("the default features bring `{heavy}`"))),
    }
}

/// Runs every example of the library: none needs a server. The tests have built them.
fn examples() -> Result<(), Error> {
    let mut names = Vec::new();
    for file in std::fs::read_dir("crates/dogpile/examples")? {
        names.extend(file?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    for name in names {
        let example = format!("target/debug/examples/{name}");
        program(example, []).named(&format!("example {name}")).run()?;
    }
    Ok(())
}

/// The lock under a model checker, with the primitives it is built on
/// replaced.
fn model_checks() -> Result<(), Error> {
    let within = ["--lib", "--", "near::bound::model", "backend::turns::model"];
    let models = ["--test", "model", "--test", "model_server"];
    for (name, which) in [("model checks", &models[..]), ("models within the crate", &within)] {
        let test = ["test", "-p", "dogpile", "--features", "near,testing", "--release"];
        let quick = ["--config", "profile.release.package.'*'.opt-level=3"];
        cargo(test.iter().chain(&quick).chain(which).copied())
            .env("RUSTFLAGS", "--cfg shuttle")
            // Quick to build; it is for searching many orders, not for a program to install.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .target_dir("target-model")
            .named(name)
            .run()?;
    }
    Ok(())
}

fn bench(arguments: &[&str]) -> Result<(), Error> {
    servers::install()?;
    if arguments.contains(&"--only=python") {
        return python_package::bench(arguments);
    }
    python::install()?;
    cargo(["build", "--release", "-p", "dogpile-cli"]).named("the command").run()?;
    let bkt = ["install", "bkt", "--root", "target/bkt", "--quiet"];
    cargo(bkt).named("bkt, to compare with").run()?;
    let bench = ["bench", "-p", "dogpile-bench", "--"];
    cargo(bench.iter().chain(arguments).copied()).named("benchmarks").run()
}

/// Prints nothing of its own: the checker's lines may be read by a program.
fn history(arguments: &[&str]) -> Result<(), Error> {
    servers::install()?;
    let run = ["run", "--quiet", "--release", "-p", "dogpile-history", "--"];
    let run = cargo(run.iter().chain(arguments).copied());
    run.run().map_err(|_| Error("history: a promise was broken, or a run failed".to_owned()))
}

fn miri() -> Step {
    let test = [
        "+nightly",
        "miri",
        "test",
        "-p",
        "dogpile",
        "--lib",
        "--",
        "clock::coarse",
        "value::object",
    ];
    // The time is the machine's.
    cargo(test).env("MIRIFLAGS", "-Zmiri-disable-isolation").target_dir("target-miri").named("Miri")
}

fn sanitizer() -> Step {
    // With a target that is named, build scripts are built without it.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let test =
        ["+nightly", "test", "-p", "dogpile", "--lib", "--features", "file", "--target", &target];
    cargo(test.into_iter().chain(["--", "process::", "value::"]))
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .target_dir("target-sanitizer")
        .named("AddressSanitizer")
}

fn fuzz(seconds: &str) -> Result<(), Error> {
    if cargo(["fuzz", "--version"]).quiet().run().is_err() {
        cargo(["install", "cargo-fuzz", "--locked"]).named("installing cargo-fuzz").run()?;
    }
    for target in ["wire", "msgpack", "pickle", "memcached", "collection"] {
        let limit = format!("-max_total_time={seconds}");
        let fuzz = ["+nightly", "fuzz", "run", target, "--", &limit];
        cargo(fuzz).named(&format!("fuzzing {target}")).run()?;
    }
    Ok(())
}
