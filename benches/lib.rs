//! Benchmarks of dogpile beside other caches, all in one process:
//! `cargo bench -p dogpile-bench`.
