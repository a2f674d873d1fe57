//! The options that the builders of all backends on servers have.

/// Setters for a builder with `certificates` and `options` of the usual names.
macro_rules! server_options {
    () => {
        /// Trusts these certificates, in PEM, in place of the system's authorities.
        ///
        /// For connections with TLS; [`open`](Self::open) refuses it for others.
        pub fn tls_root(mut self, pem: &[u8]) -> Self {
            self.certificates.get_or_insert_default().root = Some(pem.to_vec());
            self
        }

        /// Shows the server this certificate of ours, with its key, in PEM.
        ///
        /// For connections with TLS; [`open`](Self::open) refuses it for others.
        pub fn tls_client(mut self, certificate: &[u8], key: &[u8]) -> Self {
            let pair = (certificate.to_vec(), key.to_vec());
            self.certificates.get_or_insert_default().client = Some(pair);
            self
        }

        /// Sets whether creation is locked for the whole fleet; it is by default.
        /// Without, each process creates its own, and the first one to end is stored.
        pub fn creation_locks(mut self, yes: bool) -> Self {
            self.options.locks = yes;
            self
        }

        /// Puts `prefix` before every key that this backend has on the server: of values,
        /// locks, marks, invalidations and collections. So a rule of access, or a person,
        /// needs to know only this one. Up to 64 bytes without white space; braces only as
        /// one hash tag, such as `{app}:`.
        ///
        /// Keys are given, listed and cleared without it. Python knows no such prefix: its
        /// locks are not found behind one.
        pub fn key_prefix(mut self, prefix: &str) -> Self {
            self.options.key_prefix = $crate::remote::prefix::KeyPrefix::new(prefix);
            self
        }

        /// Sets the prefix of a key's lock; `_lock` by default, as in
        /// Python. From 2 to 10 of the characters `A-Z a-z 0-9 _ . : -`; not the
        /// beginning of `_mark{`, which marks have.
        pub fn lock_prefix(mut self, prefix: &str) -> Self {
            prefix.clone_into(&mut self.options.lock_prefix);
            self
        }

        /// Sets how long a lock lives unless its creator renews it; 30 seconds by
        /// default. So long do the others wait after a creator's process has
        /// died.
        pub fn lock_lease(mut self, lease: Duration) -> Self {
            self.options.terms.lease = lease;
            self
        }

        /// Sets how long a lock is renewed at most; 10 minutes by default. So long can
        /// a creator that hangs hold up its key.
        pub fn longest_creation(mut self, limit: Duration) -> Self {
            self.options.terms.longest_creation = limit;
            self
        }

        /// Sets the time limit for connecting; 1 second by default.
        pub fn connect_timeout(mut self, limit: Duration) -> Self {
            self.options.limits.connect = limit;
            self
        }

        /// Sets how long a server may take to answer before it counts as down; 1
        /// second by default.
        pub fn response_timeout(mut self, limit: Duration) -> Self {
            self.options.limits.response = limit;
            self
        }
    };
}

pub(crate) use server_options;
