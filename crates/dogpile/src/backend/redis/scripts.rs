//! What happens in one step on the server: claiming a key, storing under a
//! lock, releasing, extending. Each has a form in plain commands, for servers
//! that refuse scripts.

use std::sync::LazyLock;

use bytes::Bytes;
use redis::Cmd;

/// What lies under a key, as [`Seen`](crate::backend::Seen) has it: `nothing`,
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

/// Reads the value; if it is another than was seen, returns it, or else takes
/// the lock, and says whether there is a value still. A reply that got lost is no reason
/// to wait for oneself.
///
/// Keys: value, lock. Arguments: token, lease in milliseconds, what was seen.
pub(super) static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        r"
        local value = redis.pcall('GET', KEYS[1])
        local state = state_of(value)
        local there = state ~= 'nothing'
        if there and not is(state, ARGV[3]) then
            if type(value) == 'table' then value = '' end
            return {2, value}
        end
        local won = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
        if won or redis.call('GET', KEYS[2]) == ARGV[1] then return {1, there and 1 or 0} end
        return {0}
        "
    ))
});

/// Stores the value and releases the lock, if that is still held; 1 if so. Not if what was
/// under the key when it was claimed was changed meanwhile, by somebody who does not lock.
///
/// Keys: value, lock. Arguments: token, frame, storage time in milliseconds
/// or 0, what was there when it was claimed (or nothing, if that is not known).
pub(super) static COMMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        state!(),
        r"
        if redis.call('GET', KEYS[2]) ~= ARGV[1] then
            if redis.call('GET', KEYS[1]) == ARGV[2] then return 1 end
            return 0
        end
        redis.call('DEL', KEYS[2])
        if ARGV[4] ~= '' and not is(state_of(redis.pcall('GET', KEYS[1])), ARGV[4]) then
            return 0
        end
        if ARGV[3] == '0' then
            redis.call('SET', KEYS[1], ARGV[2])
        else
            redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        end
        return 1
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
        Self::of(script, keys, arguments.collect())
    }

    /// Without a copy of the arguments.
    pub(super) fn of(script: &'static Script, keys: &[&str], arguments: Vec<Bytes>) -> Self {
        Self { script, keys: keys.iter().map(|&key| key.to_owned()).collect(), arguments }
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
