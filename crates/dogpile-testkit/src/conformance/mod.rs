//! The conformance suite: what every backend must do, and what a region over
//! it must do. See [`conformance!`](crate::conformance!).
//!
//! Every check opens a [`Fixture`] of its own and uses keys that no other
//! check uses, so that one server can serve them all, one after the other or
//! at once. Checks of a mutex run where the backend has one, checks of two
//! processes where the fixture has a peer.

#![expect(clippy::missing_panics_doc, reason = "a check panics when it fails; that is all it does")]

mod collections;
mod failures;
mod fixture;
mod follow;
mod mutex;
mod plain;
mod region;

use std::future::Future;

pub use collections::*;
pub use failures::*;
pub use fixture::Fixture;
pub use follow::*;
pub use mutex::*;
pub use plain::*;
pub use region::*;

/// Runs one check on a multi-thread runtime. The macro's tests are calls of
/// this.
///
/// # Panics
///
/// When the check fails, and when it has not ended after two minutes.
pub fn run<O, F, C, D>(open: O, check: C)
where
    O: FnOnce() -> F,
    F: Future<Output = Fixture>,
    C: FnOnce(Fixture) -> D,
    D: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(async {
        let fixture = open().await;
        let limit = std::time::Duration::from_secs(120);
        let ended = tokio::time::timeout(limit, check(fixture)).await;
        assert!(ended.is_ok(), "the check hangs");
    });
}

/// Runs the whole suite on a backend: a module called `$name` with one test
/// for each check. `$open` is an `async` closure that returns a
/// [`Fixture`](crate::conformance::Fixture), made with `into()` from an
/// [`AnyBackend`](dogpile::backend::AnyBackend).
///
/// ```
/// use dogpile::backend::{AnyBackend, SerializedMemory};
///
/// dogpile_testkit::conformance!(serialized, async || {
///     AnyBackend::new(SerializedMemory::new(100_000)).into()
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance_checks! { $open;
                a_missing_key_reads_as_nothing
                an_entry_reads_back_whole
                a_second_set_overwrites
                delete_removes_and_absent_keys_are_fine
                get_multi_answers_in_the_order_of_the_keys
                set_multi_stores_and_delete_multi_removes
                unusual_keys_are_kept_apart_or_refused
                large_values_are_kept_or_refused
                foreign_metadata_is_kept
                the_short_cut_agrees_with_get
                concurrent_writes_are_never_torn
                a_listing_has_every_key
                a_watch_tells_of_changes

                a_version_tells_states_apart
                versions_reach_through_proxies_that_say_their_keys
                followers_learn_of_changes
                followers_behind_proxies_learn_of_changes

                one_creation_for_a_crowd
                a_failed_creator_is_followed_by_one_waiter
                a_panicking_creator_is_followed_by_one_waiter
                a_cancelled_creator_is_followed_by_one_waiter
                an_expired_value_is_served_while_one_caller_creates
                an_expired_key_serves_the_old_value_meanwhile
                soft_invalidation_serves_the_old_value_meanwhile
                hard_invalidation_makes_everyone_wait_for_the_new_value
                overlapping_multi_calls_finish_and_create_each_key_once
                multi_results_come_in_the_order_of_the_keys
                a_vetoed_value_is_returned_but_not_stored
                a_cached_none_is_a_hit
                an_undecodable_payload_is_created_again
                another_format_version_is_created_again
                a_creation_time_far_ahead_is_not_immortal
                a_key_is_locked_while_it_is_created
                regions_over_one_backend_keep_their_values_apart
                expiration_can_be_set_and_ignored_per_call

                a_hung_creator_frees_its_key
                a_failed_creation_is_known_to_every_process
                a_shared_failure_costs_one_creation_a_process

                a_mutex_excludes_and_frees
                a_dropped_lease_frees_the_mutex
                a_waiter_is_woken
                a_claim_sees_what_was_stored_meanwhile
                a_commit_stores_and_frees
                a_change_ends_claims
                a_refresh_takes_over
                creations_without_a_mutex_do_not_end_each_other
                a_commit_can_remove
                two_processes_create_once
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_checks {
    ($open:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                $crate::conformance::run($open, $crate::conformance::$check);
            }
        )*
    };
}
