//! Encrypts payloads, so that the cache server and whoever reads its disks
//! learn nothing and can forge nothing.

use std::fmt;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload as Message};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::{Layer, Transform, Transforming};
use crate::backend::{AnyBackend, BackendError};
use crate::value::extra::ENCRYPTED;
use crate::value::{Entry, Metadata, Payload};

/// Encrypts every payload with XChaCha20-Poly1305 under a random nonce.
///
/// The cache key, the creation time and the format version are authenticated
/// with it: a payload moved to another key, or made younger than it is, does
/// not decrypt and counts as missing. So does a payload that is not
/// encrypted. What remains to somebody with write access to the server is to
/// delete a value, or to put back an older one of the same key, which is then
/// as old as it says.
///
/// Cache keys themselves are not encrypted; mangle them if they tell too much.
/// Live objects, which never leave the process, pass through untouched.
///
/// To rotate keys, add the new one to all readers first, then make it the one
/// that is written with:
///
/// ```
/// use dogpile::proxy::{Encryption, EncryptionKey};
///
/// let old = EncryptionKey::new("2026-10", &[1; 32]);
/// let new = EncryptionKey::new("2026-11", &[2; 32]);
/// let everywhere_first = Encryption::new(old.clone()).also_read(new.clone());
/// let then = Encryption::new(new).also_read(old);
/// # let _ = (everywhere_first, then);
/// ```
#[derive(Debug, Clone)]
pub struct Encryption {
    write: EncryptionKey,
    also_read: Vec<EncryptionKey>,
}

/// A key and its name. The name is stored beside what it encrypts; the key is
/// shown nowhere.
#[derive(Clone)]
pub struct EncryptionKey {
    name: String,
    cipher: XChaCha20Poly1305,
}

const NONCE_BYTES: usize = 24;

impl EncryptionKey {
    /// The 32-byte key `key`, called `name`. The bytes must be random: a
    /// passphrase is no key.
    pub fn new(name: impl Into<String>, key: &[u8; 32]) -> Self {
        Self { name: name.into(), cipher: XChaCha20Poly1305::new(key.into()) }
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Encryption {
    /// Writes and reads with `key`.
    pub fn new(key: EncryptionKey) -> Self {
        Self { write: key, also_read: Vec::new() }
    }

    /// Reads what was written with `key` too.
    #[must_use]
    pub fn also_read(mut self, key: EncryptionKey) -> Self {
        self.also_read.push(key);
        self
    }

    fn open(&self, key: &str, metadata: &Metadata, sealed: &[u8]) -> Option<Vec<u8>> {
        let name = metadata.extra(ENCRYPTED)?.as_str()?;
        let mut keys = std::iter::once(&self.write).chain(&self.also_read);
        let encryption_key = keys.find(|candidate| candidate.name == name)?;
        let (nonce, msg) = sealed.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let aad = context(key, metadata);
        encryption_key.cipher.decrypt(&XNonce::from(nonce), Message { msg, aad: &aad }).ok()
    }
}

/// Returns the bytes authenticated beside the payload.
fn context(key: &str, metadata: &Metadata) -> Vec<u8> {
    let mut context = b"dogpile 1".to_vec();
    context.extend(metadata.ct.to_bits().to_be_bytes());
    context.extend(metadata.v.to_be_bytes());
    context.extend(key.as_bytes());
    context
}

impl Transform for Encryption {
    fn name(&self) -> &'static str {
        "Encryption"
    }

    fn write(&self, key: &str, entry: Entry) -> Result<Entry, BackendError> {
        let Payload::Bytes(msg) = &entry.payload else { return Ok(entry) };
        let nonce = XNonce::generate();
        let aad = context(key, &entry.metadata);
        let sealed = self
            .write
            .cipher
            .encrypt(&nonce, Message { msg, aad: &aad })
            .map_err(|_| BackendError::refused("the value is too large to encrypt"))?;
        let payload = [nonce.as_slice(), &sealed].concat();
        let metadata = entry.metadata.with_extra(ENCRYPTED, self.write.name.clone().into());
        Ok(Entry { metadata, payload: Payload::Bytes(payload.into()) })
    }

    fn read(&self, key: &str, entry: Entry) -> Entry {
        let Payload::Bytes(sealed) = &entry.payload else { return entry };
        match self.open(key, &entry.metadata, sealed) {
            Some(plain) => Entry {
                payload: Payload::Bytes(plain.into()),
                metadata: entry.metadata.without_extra(ENCRYPTED),
            },
            None => entry.with_unreadable_payload("encryption: not written with a known key"),
        }
    }
}

impl Layer for Encryption {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        Transforming(self).layer(inner)
    }
}
