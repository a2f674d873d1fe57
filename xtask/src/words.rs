//! Counts doc comments that begin with a question word: a reader wants the subject first.

use std::fs;
use std::path::Path;

use crate::run::Error;

const QUESTION_WORDS: [&str; 4] = ["What", "How", "Who", "Where"];

/// The greatest share of comments that may begin so, in percent.
const LIMIT: f64 = 2.0;

const FOLDERS: [&str; 6] = ["benches", "compat", "crates", "examples", "fuzz", "xtask"];

#[derive(Default)]
struct Count {
    comments: usize,
    /// The places of those that begin with a question word.
    found: Vec<String>,
}

/// Fails if too many doc comments begin with a question word, and tells where they are.
pub(crate) fn check() -> Result<(), Error> {
    let mut count = Count::default();
    for folder in FOLDERS {
        count.folder(Path::new(folder)).map_err(|error| Error(format!("{folder}: {error}")))?;
    }
    let share = 100.0 * count.found.len() as f64 / count.comments.max(1) as f64;
    println!(
        "{} of {} doc comments ({share:.1} %) begin with a question word",
        count.found.len(),
        count.comments
    );
    if share < LIMIT {
        return Ok(());
    }
    let places = count.found.join("\n");
    Err(Error(format!("{places}\nmore than {LIMIT} % begin so: put the subject or a verb first")))
}

impl Count {
    fn folder(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                self.folder(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.text(&path, &fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &Path, text: &str) {
        let mut is_within = false;
        for (number, line) in text.lines().enumerate() {
            let comment = doc_comment(line);
            if let Some(comment) = comment.filter(|_| !is_within) {
                self.comments += 1;
                let word = comment.split_whitespace().next().unwrap_or_default();
                if QUESTION_WORDS.contains(&word) {
                    self.found.push(format!("{}:{}: {comment}", path.display(), number + 1));
                }
            }
            is_within = comment.is_some();
        }
    }
}

fn doc_comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["///", "//!"].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_comment_counts() {
        let mut count = Count::default();
        count.text(
            Path::new("x.rs"),
            "/// What it is.\n/// How it is.\nfn a() {}\n/// It.\n//! Who\n",
        );
        assert_eq!((count.comments, count.found.len()), (2, 1));
    }
}
