//! Nothing but a test: one build has one SQLite, and all of its users must
//! agree on which.
