//! The conformance suite on files, and on entries that are compressed and encrypted.
//!
//! Backends in memory are in the tests of `dogpile-testkit`, servers in files of their own here.

use std::path::Path;

use dogpile::backend::{AnyBackend, File, SerializedMemory};
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer};
use dogpile_testkit::conformance;
use dogpile_testkit::conformance::Fixture;

conformance!(compressed_and_encrypted, async || {
    let backend = AnyBackend::new(SerializedMemory::new(100_000));
    let backend = Encryption::new(EncryptionKey::new("test", &[7; 32])).layer(backend);
    let backend = KeyPrefix::new("inner:").layer(backend);
    Compression::new(Algorithm::Zstd(3)).min_size(0).layer(backend).into()
});

// Two handles on one file, each with connections and locks of its own, as two
// processes have them.
conformance!(file, async || {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.db");
    let open = || AnyBackend::new(File::open(&path).unwrap());
    Fixture::from(open()).with_peer(open())
});

conformance!(file_without_locks, async || {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance-without-locks.db");
    let file = || File::builder(&path).creation_locks(false).open().unwrap();
    Fixture::from(AnyBackend::new(file())).with_peer(AnyBackend::new(file()))
});
