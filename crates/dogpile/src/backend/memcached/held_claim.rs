//! The content of this backend's leases.

use super::lock::Held;
use super::marks::Mark;
use super::protocol::Number;
use crate::backend::{ClaimMode, Seen};
use crate::remote::life::Life;

/// A claim that was won.
pub(super) struct Claim {
    /// None where no lock is asked for, where its server is away, or where another program
    /// holds it.
    pub(super) held: Option<Held>,
    pub(super) mark: Mark,
    pub(super) mode: ClaimMode,
    pub(super) before: Before,
    /// Another creation may still be running whose claim has ended by this one.
    pub(super) overtook: bool,
}

/// The value's state when the key was claimed.
#[derive(Clone, Copy)]
pub(super) struct Before {
    pub(super) seen: Seen,
    /// None if there was nothing.
    pub(super) number: Option<Number>,
    /// An end by its time to live is not a change.
    pub(super) life: Life,
}

/// The scope of a claim.
pub(super) struct Holding<'c> {
    pub(super) held: Option<&'c Held>,
    /// None that others may share.
    pub(super) mark: Option<&'c Mark>,
}

impl Claim {
    /// Returns the mark and lock to give up with this claim. Without a lock others may share its mark.
    pub(super) fn holding(&self) -> Holding<'_> {
        let held = self.held.as_ref();
        Holding { held, mark: held.is_some().then_some(&self.mark) }
    }
}
