//! Measures the compile time of a crate with many decorated functions, beside the
//! same with the attribute of the crate `cached`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::run::{Error, cargo};

const FUNCTIONS: usize = 200;
const ROUNDS: usize = 5;

/// Each way to decorate, as a feature of the generated crate.
const WAYS: [(&str, &str); 3] = [
    ("bare", "no attribute"),
    ("ours", "#[dogpile::cached]"),
    ("theirs", "#[cached::macros::cached]"),
];

pub(crate) fn run() -> Result<(), Error> {
    let folder = std::env::current_dir()?.join("target/compile-time");
    write_crate(&folder)?;
    for (feature, _) in WAYS {
        build(&folder, feature)?;
    }
    println!("{FUNCTIONS} async functions of two arguments, the best of {ROUNDS} builds:");
    for (feature, name) in WAYS {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            touch(&folder.join("src/lib.rs"))?;
            let began = Instant::now();
            build(&folder, feature)?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        println!("  {name:<28} {best:.2} s");
    }
    Ok(())
}

fn build(folder: &Path, feature: &str) -> Result<(), Error> {
    let manifest: PathBuf = folder.join("Cargo.toml");
    let manifest = manifest.display().to_string();
    cargo(["build", "--quiet", "--manifest-path", &manifest, "--features", feature])
        .target_dir("target/compile-time/target")
        .quiet()
        .run()
}

/// Makes the file look changed.
fn touch(path: &Path) -> Result<(), Error> {
    let file = std::fs::File::options().append(true).open(path)?;
    Ok(file.set_modified(std::time::SystemTime::now())?)
}

fn write_crate(folder: &Path) -> Result<(), Error> {
    let library = std::env::current_dir()?.join("crates/dogpile").display().to_string();
    std::fs::create_dir_all(folder.join("src"))?;
    let manifest = format!(
        "[package]\nname = \"compile-time\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [features]\nbare = []\nours = []\ntheirs = []\n\n\
         [dependencies]\ndogpile = {{ path = {library:?} }}\n\
         cached = {{ version = \"4.1\", features = [\"async\"] }}\n\n[workspace]\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest)?;
    let mut source = String::from(
        "//! Generated.\n#[cfg(feature = \"ours\")]\n\
         static REGION: dogpile::Region = dogpile::Region::new(\"r\");\n",
    );
    for number in 0..FUNCTIONS {
        let _ = write!(
            source,
            "#[cfg_attr(feature = \"ours\", dogpile::cached(region = REGION))]\n\
             #[cfg_attr(feature = \"theirs\", cached::macros::cached(max_size = 100))]\n\
             pub async fn f{number}(id: u64, name: String) -> String {{\n    \
             format!(\"{{id}}{{name}}{number}\")\n}}\n"
        );
    }
    Ok(std::fs::write(folder.join("src/lib.rs"), source)?)
}
