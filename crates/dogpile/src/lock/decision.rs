//! The decision who creates, the heart of the dogpile lock, as a pure function: [`decide`] says
//! what follows from the worth of a stored value ([`freshness`](crate::lock::freshness)) and the state
//! of the key's mutex. It takes no lock and does no I/O, so it is tested over its whole domain.

use crate::freshness::Freshness;

/// The known state of the key's mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutexState {
    /// It was not tried.
    Untried,
    /// This caller holds it.
    Won,
    /// Somebody else holds it.
    HeldElsewhere,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Return the value that was found.
    Return,
    /// Try to get the mutex, without waiting for it.
    TryMutex,
    /// Run the creator, store its value and return it.
    Create,
    /// Hand the creation to the background runner, and return the value that was found.
    CreateInBackground,
    /// Wait until the mutex is free or its holder hands a value over, then
    /// look again.
    Wait,
}

/// Returns the action of a caller who `found` this, with the mutex in this state;
/// `runner` says whether there is a background runner.
///
/// | found | mutex free (won) | mutex held elsewhere |
/// |---|---|---|
/// | fresh | return it; the mutex is never touched | the same |
/// | early | create, or hand to the runner and return the value | return the value |
/// | stale | create, or hand to the runner and return the stale value | return the stale value |
/// | nothing | create | wait |
pub fn decide(found: Freshness, mutex: MutexState, runner: bool) -> Action {
    match (found, mutex) {
        (Freshness::Fresh, _)
        | (Freshness::Early | Freshness::Stale, MutexState::HeldElsewhere) => Action::Return,
        (_, MutexState::Untried) => Action::TryMutex,
        (Freshness::Early | Freshness::Stale, MutexState::Won) if runner => {
            Action::CreateInBackground
        }
        (_, MutexState::Won) => Action::Create,
        (Freshness::Missing, MutexState::HeldElsewhere) => Action::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_holds_in_every_cell() {
        use Action::{Create, CreateInBackground, Return, TryMutex, Wait};
        use Freshness::{Early, Fresh, Missing, Stale};
        use MutexState::{HeldElsewhere, Untried, Won};

        let table = [
            (Fresh, Untried, Return, Return),
            (Fresh, Won, Return, Return),
            (Fresh, HeldElsewhere, Return, Return),
            (Early, Untried, TryMutex, TryMutex),
            (Early, Won, Create, CreateInBackground),
            (Early, HeldElsewhere, Return, Return),
            (Stale, Untried, TryMutex, TryMutex),
            (Stale, Won, Create, CreateInBackground),
            (Stale, HeldElsewhere, Return, Return),
            (Missing, Untried, TryMutex, TryMutex),
            (Missing, Won, Create, Create),
            (Missing, HeldElsewhere, Wait, Wait),
        ];
        for (found, mutex, alone, with_runner) in table {
            assert_eq!(decide(found, mutex, false), alone, "{found:?} {mutex:?}");
            assert_eq!(decide(found, mutex, true), with_runner, "{found:?} {mutex:?} runner");
        }
    }
}
