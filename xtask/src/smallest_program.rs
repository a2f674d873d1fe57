//! Measures how much processor time the smallest program with this library takes to build from
//! nothing, beside the same program with the crate `cached`.

use std::path::Path;

use crate::run::{Error, cargo};

const ROUNDS: usize = 2;

const OURS: &str = "\
use dogpile::{Config, Region, backend::Memory, cached};

static SQUARES: Region = Region::new(\"squares\");

#[cached(region = SQUARES)]
async fn square(n: u64) -> u64 {
    n * n
}

fn main() {
    SQUARES.configure(Config::new(Memory::new(100))).expect(\"it is configured once\");
";

const THEIRS: &str = "\
use cached::macros::cached;

#[cached(max_size = 100)]
async fn square(n: u64) -> u64 {
    n * n
}

fn main() {
";

const END: &str = "\
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect(\"a runtime\");
    println!(\"{} {}\", runtime.block_on(square(7)), runtime.block_on(square(7)));
}
";

pub(crate) fn run() -> Result<(), Error> {
    let library = std::env::current_dir()?.join("crates/dogpile").display().to_string();
    let ours = format!("dogpile = {{ path = {library:?} }}");
    let theirs = "cached = { version = \"4.1\", features = [\"async\"] }";
    write_program("ours", &ours, OURS)?;
    write_program("theirs", theirs, THEIRS)?;
    println!("The smallest program, a clean release build, the best of {ROUNDS}:");
    let (mut best_of_ours, mut best_of_theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        best_of_ours = best_of_ours.min(processor_seconds("ours")?);
        best_of_theirs = best_of_theirs.min(processor_seconds("theirs")?);
    }
    println!("  dogpile  {best_of_ours:.1} s of processor time");
    println!("  cached   {best_of_theirs:.1} s");
    println!("  ratio    {:.2}", best_of_ours / best_of_theirs);
    Ok(())
}

fn write_program(name: &str, dependency: &str, body: &str) -> Result<(), Error> {
    let folder = Path::new("target/smallest-program").join(name);
    std::fs::create_dir_all(folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependency}\n\
         tokio = {{ version = \"1\", features = [\"rt\"] }}\n\n[workspace]\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    Ok(std::fs::write(folder.join("src/main.rs"), format!("{body}{END}"))?)
}

/// Builds the program from nothing and returns the processor time that this took.
fn processor_seconds(name: &str) -> Result<f64, Error> {
    let folder = Path::new("target/smallest-program").join(name);
    let target = folder.join("target");
    if target.exists() {
        std::fs::remove_dir_all(&target)?;
    }
    let manifest = folder.join("Cargo.toml").display().to_string();
    // Downloads are not measured.
    cargo(["fetch", "--quiet", "--manifest-path", &manifest]).quiet().run()?;
    let before = of_ended_children()?;
    let build = ["build", "--release", "--quiet", "--manifest-path", &manifest];
    cargo(build).target_dir(&target.display().to_string()).quiet().run()?;
    Ok(of_ended_children()? - before)
}

/// Returns the processor time of the processes that this one and its children have waited for
/// (proc(5): the fields `cutime` and `cstime`, in hundredths of a second).
fn of_ended_children() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u32 = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u32>().unwrap_or(0))
        .sum();
    Ok(f64::from(ticks) / 100.0)
}
