//! Scripts, one step each on the server: claiming a key, storing under a
//! lock, releasing, extending. Each has a form in plain commands, for servers
//! that refuse scripts.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::Shared;
use super::connection::{Answer, Batch};
use super::link::Link;
use crate::backend::BackendError;

/// The state of a key, as [`Seen`](crate::backend::Seen) has it: `nothing`,
/// `unreadable`, or a creation time; and whether that is what somebody saw.
macro_rules! state {
    () => {
        r"
        local function state_of(value)
            if not value then return 'nothing' end
            -- A key of another kind: as unreadable as any frame without a header.
            if type(value) == 'table' then return 'unreadable' end
            local bar = string.find(value, '|', 1, true)
            if bar then
                local readable, header = pcall(cjson.decode, string.sub(value, 1, bar - 1))
                if readable and type(header) == 'table' and type(header.ct) == 'number' then
                    return header.ct
                end
            end
            return 'unreadable'
        end
        local function is(state, seen)
            return state == seen or state == tonumber(seen)
        end
        "
    };
}

/// Is a lock that of a creation of this library's? A token begins so.
macro_rules! ours {
    () => {
        r"
        local function is_ours(held) return string.sub(held, 1, 8) == 'dogpile-' end
        "
    };
}

/// Takes a lock for a token, also from another creation if `whose` says `ours`; true if it is held now.
/// Most locks are free: then that is one command. A server whose memory is full still says who holds it.
macro_rules! take {
    () => {
        r"
        local function take(lock, token, lease, whose)
            local taken = redis.pcall('SET', lock, token, 'NX', 'PX', lease)
            if type(taken) == 'table' and taken.ok then return true end
            local held = redis.call('GET', lock)
            if held and held ~= token and not (whose == 'ours' and is_ours(held)) then
                return false
            end
            redis.call('SET', lock, token, 'PX', lease)
            return true
        end
        "
    };
}

/// Stores a frame, or removes what is stored if that is empty; 1, or the error of a
/// server whose memory is full. First of all changes: after another one the server would
/// store without regard to its memory.
macro_rules! put {
    () => {
        r"
        local function put(key, frame, retention)
            local done
            if frame == '' then
                done = redis.pcall('DEL', key)
            elseif retention == '0' then
                done = redis.pcall('SET', key, frame)
            else
                done = redis.pcall('SET', key, frame, 'PX', retention)
            end
            if type(done) == 'table' and done.err then return done end
            return 1
        end
        "
    };
}

/// Reads the value. If it is another than was seen, returns it: 2 and the value. Or
/// else takes the lock, puts the mark, and says what is stored: 1, its state, the token
/// in the mark, and the milliseconds that the value has to live, or less than 0 if that is
/// unknown or for ever. Or says 0: somebody else holds the lock. An answer that got lost is no
/// reason to wait for oneself.
///
/// Keys: value, mark, and the lock, if that is in the same slot. Arguments: token,
/// lease and life of the mark in milliseconds, what was seen or nothing if any value
/// will do, `ours` if the lock may be taken from another creation, `shares` if a mark that
/// is there stays.
pub(super) static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        ours!(),
        take!(),
        r"
        local value, left = redis.pcall('GET', KEYS[1]), -1
        if value then left = redis.pcall('PTTL', KEYS[1]) end
        if type(left) ~= 'number' then left = -1 end
        local state = state_of(value)
        if ARGV[4] ~= '' and state ~= 'nothing' and not is(state, ARGV[4]) then
            if type(value) == 'table' then value = '' end
            return {2, value}
        end
        if KEYS[3] and not take(KEYS[3], ARGV[1], ARGV[2], ARGV[5]) then return {0} end
        local marked = ARGV[6] == 'shares' and redis.pcall('GET', KEYS[2])
        local token = type(marked) == 'string' and marked or ARGV[1]
        redis.call('SET', KEYS[2], token, 'PX', ARGV[3])
        if type(state) == 'number' then state = string.format('%.17g', state) end
        return {1, state, token, left}
        "
    ))
});

/// Takes a lock that lies in another slot than its value; 1 if so.
///
/// Key: lock. Arguments: token, lease in milliseconds, `ours` if it may be taken from
/// another creation.
pub(super) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        ours!(),
        take!(),
        r"
        return take(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) and 1 or 0
        "
    ))
});

/// Stores the value, or removes what is stored, if the mark is whole; 1 if so. Not if
/// what was stored when the key was claimed was changed meanwhile, by a program that
/// knows no marks. A commit that comes too late removes what it was to replace, if it
/// is asked to and that is still there.
///
/// Keys: value, mark, and the lock, if that is in the same slot. Arguments: token,
/// frame or nothing, retention in milliseconds or 0, what was stored when the key was
/// claimed, `remove` for a refresh, which may find nothing any more, `anyway` for another
/// claim that may: it takes over, or the value has lived its time.
pub(super) static COMMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        put!(),
        r"
        local function has_lock() return KEYS[3] and redis.call('GET', KEYS[3]) == ARGV[1] end
        local value = redis.pcall('GET', KEYS[1])
        local state = state_of(value)
        if redis.call('GET', KEYS[2]) ~= ARGV[1] then
            if has_lock() then redis.call('DEL', KEYS[3]) end
            if ARGV[2] ~= '' and value == ARGV[2] then return 1 end
            if ARGV[5] == 'remove' and state ~= 'nothing' and is(state, ARGV[4]) then
                redis.call('DEL', KEYS[1])
            end
            return 0
        end
        local outcome = 0
        if is(state, ARGV[4]) or (ARGV[5] ~= '' and state == 'nothing') then
            outcome = put(KEYS[1], ARGV[2], ARGV[3])
        end
        if has_lock() then redis.call('DEL', KEYS[2], KEYS[3]) else redis.call('DEL', KEYS[2]) end
        return outcome
        "
    ))
});

/// Stores values or removes them, and ends the claims of creations of them: their marks,
/// and their locks, unless those are another program's.
///
/// Keys: for each change the value, the mark, and the lock, if that is in the same slot.
/// Arguments: how many keys each change has, and for each change the frame or nothing, and
/// its retention in milliseconds or 0.
pub(super) static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        ours!(),
        put!(),
        r"
        local step, outcome = tonumber(ARGV[1]), 1
        for at = 1, #KEYS, step do
            local frame = 2 + 2 * (at - 1) / step
            local done = put(KEYS[at], ARGV[frame], ARGV[frame + 1])
            if done ~= 1 then outcome = done end
        end
        for at = 1, #KEYS, step do
            redis.call('DEL', KEYS[at + 1])
            if step == 3 then
                local held = redis.pcall('GET', KEYS[at + 2])
                if type(held) == 'string' and is_ours(held) then
                    redis.call('DEL', KEYS[at + 2])
                end
            end
        end
        return outcome
        "
    ))
});

/// Makes new data the next revision of a collection, if the lock is still held,
/// and releases that; the number of the revision, or -1, or -2 if parts are missing.
/// Said twice, it happens once.
///
/// Keys: data, revision, parts, the parts before, uploaded parts, lock.
/// Arguments: data, token or nothing, what the number must exceed, for how many
/// seconds the parts before are kept, how many parts were uploaded.
#[cfg(feature = "collections")]
pub(super) static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local stored = redis.pcall('GET', KEYS[2])
        local number = 0
        if type(stored) == 'string' and #stored <= 15 and string.match(stored, '^%d+$') then
            number = tonumber(stored)
        end
        if ARGV[2] ~= '' and redis.call('GET', KEYS[6]) ~= ARGV[2] then
            if redis.call('GET', KEYS[1]) == ARGV[1] then return number end
            return -1
        end
        local parts = tonumber(ARGV[5])
        if parts > 0 and redis.call('HLEN', KEYS[5]) ~= parts then return -2 end
        if redis.call('EXISTS', KEYS[3]) == 1 then
            redis.call('RENAME', KEYS[3], KEYS[4])
            redis.call('EXPIRE', KEYS[4], ARGV[4])
        end
        if parts > 0 then
            redis.call('RENAME', KEYS[5], KEYS[3])
            redis.call('PERSIST', KEYS[3])
        end
        number = math.max(number, tonumber(ARGV[3])) + 1
        redis.call('SET', KEYS[1], ARGV[1])
        redis.call('SET', KEYS[2], string.format('%.0f', number))
        if ARGV[2] ~= '' then redis.call('DEL', KEYS[6]) end
        return number
        ",
    )
});

/// Releases the lock, if it is still held. Key: lock. Argument: token.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
        return 0
        ",
    )
});

/// Extends the lock, if it is still held; 1 if so. Key: lock. Arguments:
/// token, lease in milliseconds.
pub(super) static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[1]) == ARGV[1] then
            return redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        return 0
        ",
    )
});

/// A script's text and what the server knows it by.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

/// A script with its keys and arguments.
#[derive(Clone)]
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Bytes>,
}

impl Call {
    pub(super) fn new(script: &'static Script, keys: &[&str], arguments: &[&[u8]]) -> Self {
        let arguments = arguments.iter().map(|argument| Bytes::copy_from_slice(argument));
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Self::of(script, keys, arguments.collect())
    }

    /// Without a copy of the arguments.
    pub(super) fn of(script: &'static Script, keys: Vec<String>, arguments: Vec<Bytes>) -> Self {
        Self { script, keys, arguments }
    }

    /// By its hash: what the server should know already.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// With its whole text, which the server knows from then on.
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.text)
    }

    /// The key that says where the script is to run.
    pub(super) fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for argument in &self.arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

/// The number of calls that go together: a server that has many has a time limit for each part.
const TOGETHER: usize = 4_096;

impl Shared {
    /// Runs `calls` in one round trip, or in a few where they are many; `None` if the server refuses
    /// scripts.
    pub(super) async fn run(&self, calls: Vec<Call>) -> Result<Option<Vec<Value>>, BackendError> {
        self.run_over(&self.link, calls).await
    }

    /// The same over another connection.
    pub(super) async fn run_over(
        &self,
        link: &Link,
        calls: Vec<Call>,
    ) -> Result<Option<Vec<Value>>, BackendError> {
        let mut answers = Vec::with_capacity(calls.len());
        for calls in calls.chunks(TOGETHER) {
            let Some(part) = self.run_together(link, calls).await? else { return Ok(None) };
            answers.extend(part);
        }
        Ok(Some(answers))
    }

    async fn run_together(
        &self,
        link: &Link,
        calls: &[Call],
    ) -> Result<Option<Vec<Value>>, BackendError> {
        if self.refuses_scripts.is_known() {
            return Ok(None);
        }
        let mut answers = link.send_all(&all(calls, Call::by_hash)).await?;
        if answers.iter().any(|answer| self.refuses_scripts.is_in(answer)) {
            return Ok(None);
        }
        let unknown = |answer: &Answer| has_code(answer, "NOSCRIPT");
        if answers.iter().any(unknown) {
            let again: Vec<usize> =
                (0..answers.len()).filter(|&index| unknown(&answers[index])).collect();
            let calls: Vec<Call> = again.iter().map(|&index| calls[index].clone()).collect();
            let full = link.send_all(&all(&calls, Call::in_full)).await?;
            if full.iter().any(|answer| self.refuses_scripts.is_in(answer)) {
                return Ok(None);
            }
            for (index, answer) in again.into_iter().zip(full) {
                answers[index] = answer;
            }
        }
        let checked = answers.into_iter().map(|answer| answer.map_err(|e| link.backend_error(&e)));
        checked.collect::<Result<_, _>>().map(Some)
    }
}

fn all(calls: &[Call], form: fn(&Call) -> Cmd) -> Batch {
    let mut batch = Batch::new();
    for call in calls {
        batch.add(call.key(), form(call));
    }
    batch
}

pub(super) fn has_code(answer: &Answer, code: &str) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some(code))
}
