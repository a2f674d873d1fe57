//! Creations that are going on: claims to keys, which end with any change of the key.
//!
//! A claim is a token in the table `dogpile_creations`. Triggers take it away when the
//! entry under its key is stored, changed or removed, by whomever, and a commit stores
//! only if its token is still there.
//!
//! Everything here is a part of the writer's transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::database::{self, Mark};
use super::error::FileError;
use crate::backend::ClaimMode;
use crate::value::Entry;

/// A token that tells one claim from any other.
pub(super) type Token = Vec<u8>;

/// As many tokens are kept. Those of processes that have died stay until their key is
/// changed, or until so many claims came later.
const MOST_TOKENS: i64 = 1 << 18;

/// The outcome of a claim.
#[derive(Debug)]
pub(super) enum Claim {
    /// The key is claimed.
    Won(Won),
    /// There is another value than was seen; the key is not claimed.
    Changed(Entry),
}

/// A claim to a key.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) token: Token,
    /// Was the token put there for this claim? If not, it was there before.
    pub(super) is_own: bool,
    /// The entry that a refresh replaces.
    pub(super) replaces: Option<Mark>,
}

/// Claims `key` with `token`, as `mode` says.
///
/// A creation that finds a token there shares it: since that was put there, the key was
/// not changed, and the first of the two to commit ends the claim of the other. So
/// creations that overlap, where nothing excludes them, do not keep each other from being
/// stored for ever.
pub(super) fn claim(
    connection: &Connection,
    key: &str,
    token: &[u8],
    mode: ClaimMode,
) -> Result<Claim, FileError> {
    if mode.is_settled_by(database::head(connection, key)?.as_ref())
        && let Some(entry) = database::get(connection, key)?
    {
        return Ok(Claim::Changed(entry));
    }
    let shared = if mode.takes_over() { None } else { token_of(connection, key)? };
    let is_own = shared.is_none();
    if is_own {
        put_token(connection, key, token)?;
        forget_oldest(connection)?;
    }
    let replaces = if mode == ClaimMode::Refresh { database::mark(connection, key)? } else { None };
    let token = shared.unwrap_or_else(|| token.to_owned());
    Ok(Claim::Won(Won { token, is_own, replaces }))
}

/// Stores `frame` under `key`, or removes what is there if it is none; false if the
/// claim has ended, which leaves everything as it is.
pub(super) fn commit(
    connection: &Connection,
    key: &str,
    token: &[u8],
    frame: Option<&[u8]>,
) -> Result<bool, FileError> {
    if token_of(connection, key)?.as_deref() != Some(token) {
        return Ok(false);
    }
    match frame {
        Some(frame) => database::put(connection, key, frame)?,
        None => database::delete(connection, key)?,
    }
    end(connection, key)?;
    Ok(true)
}

/// Removes the value under `key` if it is still `replaced`. Claims do not end by that:
/// they are later than the refresh that did not come to replace it.
pub(super) fn remove_replaced(
    connection: &Connection,
    key: &str,
    replaced: &Mark,
) -> Result<(), FileError> {
    if database::mark(connection, key)?.as_ref() != Some(replaced) {
        return Ok(());
    }
    let token = token_of(connection, key)?;
    database::delete(connection, key)?;
    match token {
        Some(token) => put_token(connection, key, &token),
        None => Ok(()),
    }
}

/// Gives up the claim with `token`.
pub(super) fn unmark(connection: &Connection, key: &str, token: &[u8]) -> Result<(), FileError> {
    let sql = "DELETE FROM dogpile_creations WHERE key = ?1 AND token = ?2";
    connection.prepare_cached(sql)?.execute(params![key.as_bytes(), token])?;
    Ok(())
}

/// Ends whatever claim there is to `key`.
pub(super) fn end(connection: &Connection, key: &str) -> Result<(), FileError> {
    let sql = "DELETE FROM dogpile_creations WHERE key = ?1";
    connection.prepare_cached(sql)?.execute([key.as_bytes()])?;
    Ok(())
}

fn token_of(connection: &Connection, key: &str) -> Result<Option<Token>, FileError> {
    let sql = "SELECT CAST(token AS BLOB) FROM dogpile_creations WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([key.as_bytes()], |row| row.get(0)).optional()?)
}

fn put_token(connection: &Connection, key: &str, token: &[u8]) -> Result<(), FileError> {
    let sql = "REPLACE INTO dogpile_creations (key, token) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key.as_bytes(), token])?;
    Ok(())
}

/// The order of claims is that of the rows.
fn forget_oldest(connection: &Connection) -> Result<(), FileError> {
    let sql = "DELETE FROM dogpile_creations
        WHERE rowid <= (SELECT max(rowid) FROM dogpile_creations) - ?1";
    connection.prepare_cached(sql)?.execute([MOST_TOKENS])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Seen;
    use crate::backend::file::database::transaction;
    use crate::backend::file::joint::{Change, Step};
    use crate::backend::file::schema;

    const COLD: ClaimMode = ClaimMode::Create(Seen::Nothing);

    fn file() -> (tempfile::TempDir, Connection) {
        let directory = tempfile::TempDir::new().unwrap();
        let connection =
            schema::open(&directory.path().join("cache.db"), Duration::from_secs(5), None).unwrap();
        (directory, connection)
    }

    fn frame(text: &str, ct: f64) -> bytes::Bytes {
        Entry::bytes(text.to_owned(), ct).to_frame().unwrap()
    }

    fn put(connection: &Connection, key: &str, text: &str, ct: f64) {
        database::put(connection, key, &frame(text, ct)).unwrap();
    }

    fn win(connection: &Connection, token: &str, mode: ClaimMode) -> Won {
        match claim(connection, "k", token.as_bytes(), mode).unwrap() {
            Claim::Won(won) => won,
            Claim::Changed(entry) => panic!("{entry:?}"),
        }
    }

    fn is_claimed(connection: &Connection) -> bool {
        token_of(connection, "k").unwrap().is_some()
    }

    fn stores(connection: &Connection, won: &Won, text: &str) -> bool {
        commit(connection, "k", &won.token, Some(&frame(text, 9.0))).unwrap()
    }

    fn stored(connection: &Connection) -> Option<String> {
        let frame = database::get(connection, "k").unwrap()?.to_frame().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        Some(text.split_once('|').unwrap().1.to_owned())
    }

    #[test]
    fn a_change_ends_the_claim_whoever_makes_it() {
        let changes = [
            ("REPLACE INTO Dict (key, value) VALUES (x'6b', x'31')", true, true),
            ("INSERT INTO Dict (key, value) VALUES (x'6b', x'31')", false, true),
            ("UPDATE Dict SET value = x'31' WHERE key = x'6b'", true, true),
            ("UPDATE Dict SET key = x'6c' WHERE key = x'6b'", true, true),
            ("UPDATE Dict SET key = x'6b' WHERE key = x'6a'", false, true),
            ("DELETE FROM Dict WHERE key = x'6b'", true, true),
            ("DELETE FROM Dict", true, true),
            // These change nothing, and SQLite tells nobody.
            ("DELETE FROM Dict WHERE key = x'6b'", false, false),
            ("INSERT OR IGNORE INTO Dict (key, value) VALUES (x'6b', x'31')", true, false),
            ("UPDATE Dict SET value = x'31' WHERE key = x'6a'", true, false),
        ];
        for (sql, is_stored, ends) in changes {
            let (_directory, connection) = file();
            put(&connection, "j", "another key", 1.0);
            if is_stored {
                put(&connection, "k", "before", 1.0);
            }
            win(&connection, "one", ClaimMode::TakeOver);
            connection.execute(sql, []).unwrap();
            assert_eq!(is_claimed(&connection), !ends, "{sql}, stored before: {is_stored}");
        }
    }

    #[test]
    fn our_own_changes_end_claims_even_where_nothing_is_stored() {
        let key = || "k".into();
        for change in
            [Change::Put { key: key(), frame: frame("v", 1.0) }, Change::Delete { key: key() }]
        {
            let (_directory, connection) = file();
            win(&connection, "one", COLD);
            vec![change].apply(&connection).unwrap();
            assert!(!is_claimed(&connection));
        }
        let (_directory, connection) = file();
        win(&connection, "one", COLD);
        database::clear(&connection).unwrap();
        assert!(!is_claimed(&connection));
    }

    #[test]
    fn a_commit_needs_its_token_and_takes_it_away() {
        let (_directory, connection) = file();
        let won = win(&connection, "one", COLD);
        assert!(stores(&connection, &won, "first"));
        assert!(!stores(&connection, &won, "again"), "the claim has ended");
        assert_eq!(stored(&connection).as_deref(), Some("first"));
        for before in [true, false] {
            assert_eq!(stored(&connection).is_some(), before);
            let won = win(&connection, "two", ClaimMode::Refresh);
            assert!(commit(&connection, "k", &won.token, None).unwrap());
            assert_eq!(stored(&connection), None);
            assert!(!is_claimed(&connection), "something was removed: {before}");
        }
    }

    #[test]
    fn a_creation_is_settled_by_a_later_value_and_a_refresh_by_none() {
        let (_directory, connection) = file();
        put(&connection, "k", &"x".repeat(100_000), 2.0);
        let seen = |ct| ClaimMode::Create(Seen::Created(ct));
        let changed = claim(&connection, "k", b"one", seen(1.0)).unwrap();
        let Claim::Changed(entry) = changed else { panic!("{changed:?}") };
        assert!(entry.to_frame().unwrap().len() > 100_000, "it is whole");
        assert!(!is_claimed(&connection));
        assert!(win(&connection, "one", seen(2.0)).is_own);
        assert!(win(&connection, "two", ClaimMode::Refresh).is_own);
    }

    /// Without locks creations overlap: the first to end is stored, and not each of them
    /// prevented by the next.
    #[test]
    fn creations_that_overlap_share_a_token() {
        let (_directory, connection) = file();
        let [first, second] = ["one", "two"].map(|token| win(&connection, token, COLD));
        assert!(first.is_own && !second.is_own);
        assert!(stores(&connection, &first, "first"));
        assert!(!stores(&connection, &second, "second"));
        let [third, fourth] =
            ["three", "four"].map(|token| win(&connection, token, ClaimMode::TakeOver));
        assert!(!stores(&connection, &third, "third"), "it was taken over");
        assert!(stores(&connection, &fourth, "fourth"));
    }

    #[test]
    fn a_refresh_that_was_overtaken_removes_only_what_it_was_to_replace() {
        let (_directory, connection) = file();
        put(&connection, "k", "before", 1.0);
        let [first, second] =
            ["one", "two"].map(|token| win(&connection, token, ClaimMode::Refresh));
        assert!(!stores(&connection, &first, "first"));
        let replaced = first.replaces.unwrap();
        remove_replaced(&connection, "k", &replaced).unwrap();
        assert_eq!(stored(&connection), None);
        assert!(stores(&connection, &second, "second"), "the later claim is whole");
        remove_replaced(&connection, "k", &replaced).unwrap();
        assert_eq!(stored(&connection).as_deref(), Some("second"));
    }

    #[test]
    fn a_claim_is_given_up_by_its_own_token_only() {
        let (_directory, connection) = file();
        let first = win(&connection, "one", COLD);
        let second = win(&connection, "two", ClaimMode::TakeOver);
        unmark(&connection, "k", &first.token).unwrap();
        assert!(is_claimed(&connection));
        unmark(&connection, "k", &second.token).unwrap();
        assert!(!is_claimed(&connection));
    }

    #[test]
    fn tokens_of_the_dead_are_bounded() {
        let (_directory, connection) = file();
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO dogpile_creations (key, token)
            SELECT CAST('dead-' || i AS BLOB), x'00' FROM n";
        let more = MOST_TOKENS + 1_000;
        transaction(&connection, |connection| Ok(connection.execute(fill, [more])?)).unwrap();
        let won = win(&connection, "one", COLD);
        let left = "SELECT count(*) FROM dogpile_creations";
        let left: i64 = connection.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, MOST_TOKENS);
        assert!(token_of(&connection, "dead-1").unwrap().is_none(), "the first to come go");
        assert!(stores(&connection, &won, "v"));
    }
}
