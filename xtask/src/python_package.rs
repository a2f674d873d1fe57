//! The wheel of the Python package: built for all Pythons of this system, small enough, and tried where
//! nothing else is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::Environment;
use crate::run::{Error, cargo, program};

const PACKAGE: &str = "crates/dogpile-python";
const WHEELS: &str = "target/wheels";
/// The environment that builds the wheel.
const BUILDER: &str = "target/python-build";
/// The one where it is tried.
const FRESH: &str = "target/python-wheel";
/// The one where it is tested.
const TESTS: &str = "target/python-tests";
const TESTED_WITH: [&str; 22] = [
    "aiocache",
    "ddtrace",
    "decorator",
    "gevent",
    "dogpile.cache==1.5.0",
    "mako",
    "msgpack",
    "mypy",
    "oslo.cache==4.3.0",
    "oslotest",
    "pylibmc",
    "pymemcache",
    "pytest",
    "pytest-xdist",
    "python-binary-memcached",
    "python-memcached",
    "redis",
    "setuptools",
    "sqlalchemy==2.1.9",
    "time-machine",
    "uvloop",
    "valkey",
];
const SOURCES: [&str; 2] = ["dogpile.cache==1.5.0", "sqlalchemy==2.1.9"];
/// The one where it is measured.
const BENCH: &str = "target/python-bench";
const PEERS: [&str; 5] = ["dogpile.cache==1.5.0", "redis", "async-lru", "aiocache", "cashews"];
const MOST_BYTES: u64 = 4_000_000;

/// Builds the wheel, and tries it. Returns its path.
pub(crate) fn build() -> Result<PathBuf, Error> {
    let builder = Environment { folder: BUILDER, packages: &["maturin[zig]>=1.16,<2"] };
    builder.install(|| program("python3", []), || Ok(()))?;
    let python = builder.python();
    if Path::new(WHEELS).exists() {
        std::fs::remove_dir_all(WHEELS)?;
    }
    let manifest = format!("{PACKAGE}/Cargo.toml");
    let arguments = ["-m", "maturin", "build", "--manifest-path", &manifest, "--out", WHEELS];
    let mut build = program(&python, arguments).env("PATH", &path_with(BUILDER)?);
    // The wheel is a thirtieth smaller so than at the usual level.
    build = build.args(["--compression-level", "9"]);
    if cfg!(target_os = "linux") {
        // Zig's C compiler knows the C library of systems of ten years ago.
        build = build.args(["--zig", "--compatibility", "manylinux2014"]);
        build = build.args(["--", "-C", &format!("link-arg={}", the_systems_unwinder()?)]);
    }
    build.named("wheel").run()?;
    let wheel = the_wheel()?;
    let bytes = std::fs::metadata(&wheel)?.len();
    println!("    {} of {bytes} bytes", wheel.display());
    if bytes > MOST_BYTES {
        return Err(Error(format!("the wheel has {bytes} bytes, and may have {MOST_BYTES}")));
    }
    try_out(&wheel)?;
    Ok(wheel)
}

/// The path of the C library's unwinder. Zig would link one of its own, which the C library does not know when
/// it unwinds a thread that the interpreter ends.
fn the_systems_unwinder() -> Result<String, Error> {
    let asked = Command::new("cc").arg("-print-file-name=libgcc_s.so.1").output()?;
    Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned())
}

/// The folder of a virtual environment's programs before all others.
fn path_with(environment: &str) -> Result<String, Error> {
    let folder = std::path::absolute(Path::new(environment).join("bin"))?;
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([folder].into_iter().chain(std::env::split_paths(&others)));
    let path = path.map_err(|error| Error(error.to_string()))?;
    Ok(path.to_string_lossy().into_owned())
}

fn the_wheel() -> Result<PathBuf, Error> {
    let files = std::fs::read_dir(WHEELS)?.flatten().map(|file| file.path());
    let mut wheels = files.filter(|file| file.extension().is_some_and(|it| it == "whl"));
    wheels.next().ok_or_else(|| Error(format!("there is no wheel in {WHEELS}")))
}

/// Installs the file alone where nothing else is, and runs the first program of its README.
fn try_out(wheel: &Path) -> Result<(), Error> {
    let python = Path::new(FRESH).join("bin/python");
    program("python3", ["-m", "venv", "--clear", FRESH]).run()?;
    let pip = ["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"];
    program(&python, pip).args([&*wheel.to_string_lossy()]).named("the wheel, installed").run()?;
    let readme = std::fs::read_to_string(Path::new(PACKAGE).join("README.md"))?;
    let first = first_program(&readme).ok_or_else(|| Error("no program in README".to_owned()))?;
    program(&python, ["-I", "-c", first]).named("the first program of its README").run()?;
    let shim = "import dogpile_rs; dogpile_rs.install(); import dogpile.cache, dogpile_rs.cache as ours; assert dogpile.cache is ours";
    program(&python, ["-I", "-c", shim]).named("the shim").run()
}

/// Measures the wheel beside dogpile.cache and caches for asyncio.
pub(crate) fn bench(arguments: &[&str]) -> Result<(), Error> {
    let wheel = build()?;
    let python = Path::new(BENCH).join("bin/python");
    program("python3", ["-m", "venv", "--clear", BENCH]).run()?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let wheel = wheel.to_string_lossy();
    program(&python, pip).args(PEERS).args([&*wheel]).named("what is compared").run()?;
    let rounds = if arguments.contains(&"--quick") { "3" } else { "15" };
    let run = program(&python, ["benches/python/run.py"]).env("ROUNDS", rounds);
    run.named("benchmarks of the Python package").run()
}

/// Runs the package's own tests, dogpile.cache's on it (with the old names native, too), and other
/// libraries on it. `whole`: also those of dogpile.cache that take long.
pub(crate) fn test(whole: bool) -> Result<(), Error> {
    build()?;
    put_engine_beside_its_sources()?;
    // The tests of all crates need it with all features as well, and build it only once.
    let worker = ["build", "--workspace", "--all-features", "--bin", "dogpile-worker"];
    cargo(worker).named("a process in Rust for the mixed fleet").run()?;
    let python = prepare_tests()?;
    let tests = ["-m", "pytest", "--quiet", "crates/dogpile-python/tests"];
    let tests = program(&python, tests).env("DOGPILE_RS_NOTHING_SKIPPED", "1");
    tests.named("tests of the Python package").run()?;
    let sources = source_of("dogpile_cache")?;
    for (kind, name) in [("", "dogpile.cache's tests"), ("--native", "the same, natively")] {
        let further = [kind, if whole { "--whole" } else { "" }];
        let further = further.into_iter().filter(|option| !option.is_empty());
        let suite = ["crates/dogpile-python/tests/upstream.py", &sources, "-n", "2", "--quiet"];
        program(&python, suite).args(further).named(name).run()?;
    }
    let examples = source_of("sqlalchemy")?;
    let others = ["crates/dogpile-python/tests/third_parties.py", &examples];
    program(&python, others).named("other libraries on the Python package").run()
}

/// The tests run on the package's sources, with the engine of the wheel.
fn put_engine_beside_its_sources() -> Result<(), Error> {
    const COPY: &str =
        "import dogpile_rs._engine as e, shutil, sys; shutil.copy(e.__file__, sys.argv[1])";
    let python = Path::new(FRESH).join("bin/python");
    let folder = format!("{PACKAGE}/python/dogpile_rs");
    program(python, ["-I", "-c", COPY, &folder]).run()
}

/// Installs what the tests need, and gets the sources that have them. Returns the interpreter.
fn prepare_tests() -> Result<PathBuf, Error> {
    let environment = Environment { folder: TESTS, packages: &TESTED_WITH };
    environment.install(|| program("python3", []), || get_sources(&environment.python()))?;
    Ok(environment.python())
}

fn get_sources(python: &Path) -> Result<(), Error> {
    for package in SOURCES {
        let download = ["-m", "pip", "download", "--quiet", "--no-deps"];
        let name = package.split("==").next().unwrap_or(package);
        let from = ["--no-binary", name, "--dest", TESTS, package];
        program(python, download).args(from).named(package).run()?;
    }
    for archive in std::fs::read_dir(TESTS)?.flatten().map(|file| file.path()) {
        if archive.extension().is_some_and(|it| it == "gz") {
            program("tar", ["-xzf", &*archive.to_string_lossy(), "-C", TESTS]).run()?;
        }
    }
    Ok(())
}

/// The folder of an unpacked source distribution.
fn source_of(name: &str) -> Result<String, Error> {
    let folders = std::fs::read_dir(TESTS)?.flatten().map(|file| file.path());
    let mut named = folders.filter(|folder| {
        let found = folder.file_name().map(|it| it.to_string_lossy().to_lowercase());
        folder.is_dir() && found.is_some_and(|it| it.starts_with(name))
    });
    let folder = named.next().ok_or_else(|| Error(format!("{name} was not unpacked")))?;
    Ok(folder.to_string_lossy().into_owned())
}

fn first_program(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once("```python\n")?;
    Some(rest.split_once("```")?.0)
}
