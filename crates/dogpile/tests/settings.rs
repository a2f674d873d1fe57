//! Configuration from settings.

use dogpile::backend::{AnyBackend, MapBackend, Memory};
use dogpile::config::{
    Arguments, ConfigError, Scalar, Settings, coerce, register_backend, register_proxy,
};
use dogpile::proxy::{KeyPrefix, Layer};
use dogpile::{Config, Region, Serialized};
use proptest::prelude::*;

fn config(settings: &[(&str, &str)]) -> Result<Config<Serialized>, ConfigError> {
    Settings::from_iter(settings.iter().copied()).config()
}

fn configured(settings: &[(&str, &str)]) -> Region {
    let region = Region::new("settings");
    region.configure(config(settings).unwrap()).unwrap();
    region
}

#[test]
fn names_are_taken_with_and_without_pythons_prefix() {
    for name in ["memory", "dogpile.cache.memory"] {
        let region = configured(&[("backend", name), ("arguments.max_entries", "3")]);
        assert!(region.backend().unwrap().actual::<Memory>().is_some());
    }
    for name in ["memory_pickle", "null"] {
        configured(&[("backend", name)]);
    }
}

#[test]
fn everything_can_be_set() {
    let region = configured(&[
        ("backend", "memory_pickle"),
        ("arguments.max_bytes", "100000"),
        ("expiration_time", "1h 30m"),
        ("wait_timeout", "2.5"),
        ("key_mangler", "prefix:shop:"),
        ("codec", "msgpack"),
        ("wrap", "logging, compression"),
        ("replace_existing_backend", "true"),
    ]);
    assert_eq!(region.stored_key("k").unwrap(), "shop:k");
    assert_eq!(region.backend().unwrap().name(), "Compression over Logging over SerializedMemory");
    region.blocking().set("k", &7).unwrap();
    assert_eq!(region.blocking().get("k").unwrap(), Some(7));
}

#[test]
fn a_near_tier_is_set_by_its_size() {
    let bytes = ("backend", "memory_pickle");
    let shown = |settings: &[(&str, &str)]| format!("{:?}", config(settings).unwrap());
    let near = shown(&[
        bytes,
        ("near.max_entries", "7"),
        ("near.max_staleness", "250ms"),
        ("near.serve_when_down", "10s"),
        ("near.broadcast", "true"),
    ]);
    for part in ["max_entries: 7", "250ms", "serve_when_down: 10s", "broadcast: true"] {
        assert!(near.contains(part), "{near}");
    }
    assert!(!shown(&[bytes, ("near.max_entries", " ")]).contains("Near"), "it is empty");
    for (name, value) in
        [("near.max_staleness", "1s"), ("near.max_entries", "many"), ("near.size", "7")]
    {
        let error = config(&[bytes, (name, value)]).unwrap_err().to_string();
        assert!(error.contains("max_entries") || error.contains("near"), "{error}");
    }
    let region = Region::new("memory");
    let memory = [("backend", "memory"), ("near.max_entries", "7")];
    let refused = region.configure(config(&memory).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("leave the near tier out"), "{refused}");
}

#[test]
fn expirations_are_numbers_durations_or_never() {
    for (text, expected) in [
        ("300", "After(300s)"),
        ("0.5", "After(500ms)"),
        ("5m", "After(300s)"),
        ("none", "Never"),
        ("-1", "Never"),
    ] {
        let config = config(&[("backend", "null"), ("expiration_time", text)]).unwrap();
        assert!(format!("{config:?}").contains(expected), "{text}: {config:?}");
    }
}

#[test]
fn errors_say_what_is_wrong_and_what_would_be_right() {
    let message = |settings: &[(&str, &str)]| config(settings).unwrap_err().to_string();
    let unknown = message(&[("backend", "memroy")]);
    assert!(unknown.contains("`memroy`") && unknown.contains("memory, memory_pickle, null"));
    let unknown = message(&[("backend", "memory"), ("arguments.max_entires", "5")]);
    assert!(unknown.contains("max_entires") && unknown.contains("max_entries"), "{unknown}");
    let unknown = message(&[("backend", "null"), ("expiration", "5m")]);
    assert!(unknown.contains("expiration") && unknown.contains("expiration_time"), "{unknown}");
    let invalid = message(&[("backend", "memory"), ("arguments.max_entries", "many")]);
    assert!(invalid.contains("`many`") && invalid.contains("whole number"), "{invalid}");
    let invalid = message(&[("backend", "null"), ("expiration_time", "soon")]);
    assert!(invalid.contains("5m"), "{invalid}");
    assert!(message(&[]).contains("`backend`"));
    assert!(message(&[("backend", "null"), ("wrap", "cellophane")]).contains("logging"));
    let both = [("arguments.max_entries", "1"), ("arguments.max_bytes", "1")];
    assert!(message(&[&[("backend", "memory_pickle")], &both[..]].concat()).contains("not both"));
}

#[test]
fn users_register_backends_and_proxies() {
    register_backend("mine", |arguments: &mut Arguments| {
        let _: String = arguments.require("password")?;
        Ok(AnyBackend::new(MapBackend::unbounded()))
    });
    register_proxy("prefixed", |backend| KeyPrefix::new("p:").layer(backend));
    configured(&[("backend", "mine"), ("arguments.password", "hunter2"), ("wrap", "prefixed")]);
    let missing = config(&[("backend", "mine")]).unwrap_err().to_string();
    assert!(missing.contains("`mine`") && missing.contains("`password`"));
}

#[test]
fn secrets_appear_in_no_message() {
    let settings = Settings::from_iter([("password", "hunter2"), ("url", "redis://:hunter2@h")]);
    let mut arguments = Arguments::new("test", settings.clone());
    assert!(!format!("{settings:?} {arguments:?}").contains("hunter2"));
    for name in ["password", "url"] {
        let error = arguments.take::<u64>(name).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn toml_is_flattened() {
    let settings = Settings::from_toml(
        "[cache.users]\nbackend = \"memory\"\nexpiration_time = 300\nwrap = [\"logging\"]\n\
         [cache.users.arguments]\nmax_entries = 5\n[cache.other]\nbackend = \"null\"\n",
    )
    .unwrap();
    let users = settings.with_prefix("cache.users.");
    assert_eq!(users.get("expiration_time"), Some("300"));
    assert_eq!(users.get("arguments.max_entries"), Some("5"));
    assert!(users.config::<Serialized>().is_ok());
    let error = Settings::from_toml("a = 1\nb = = 2").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn the_environment_overrides_a_file() {
    let variables = [
        ("DOGPILE__USERS__EXPIRATION_TIME", "5m"),
        ("DOGPILE__USERS__ARGUMENTS__MAX_ENTRIES", "7"),
        ("DOGPILES__USERS__BACKEND", "null"),
        ("PATH", "/bin"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Settings::from_variables("DOGPILE", variables);
    let file = Settings::from_iter([("users.backend", "memory"), ("users.expiration_time", "1h")]);
    let users = file.merge(environment).with_prefix("users.");
    let settings: Vec<_> = users.iter().collect();
    assert_eq!(
        settings,
        [("arguments.max_entries", "7"), ("backend", "memory"), ("expiration_time", "5m")]
    );
}

/// However the names are written, a setting is one, and an override reaches it.
#[test]
fn a_misspelled_section_is_told_from_one_without_a_backend() {
    let settings = Settings::from_iter([("cache.users.expiration_time", "1h")]);
    let config = |prefix| settings.with_prefix(prefix).config::<Serialized>().unwrap_err();
    for misspelled in ["cache.usres.", "caches.", "cache.users"] {
        let error = config(misspelled);
        assert_eq!(error, ConfigError::NoSettings);
        assert!(error.to_string().contains("compare the prefix"), "{error}");
    }
    assert!(
        matches!(config("cache.users."), ConfigError::Missing { name, .. } if name == "backend")
    );
}

#[test]
fn names_match_regardless_of_case_and_hyphens() {
    let written = [
        ("Cache.User-Accounts.backend", "memory"),
        ("Cache.User-Accounts.Expiration-Time", "1h"),
        ("Cache.User-Accounts.ARGUMENTS.Max-Entries", "7"),
        ("Cache.Usr.expiration_time", "1h"),
    ];
    let name = "DOGPILE__CACHE__USER_ACCOUNTS__EXPIRATION_TIME".to_owned();
    let environment = Settings::from_variables("DOGPILE", [(name, "5m".to_owned())]);
    let all = Settings::from_iter(written).merge(environment);
    for prefix in ["cache.user_accounts.", "Cache.User-Accounts."] {
        let accounts = all.with_prefix(prefix);
        assert_eq!((accounts.iter().count(), accounts.get("EXPIRATION-time")), (3, Some("5m")));
        let config: Config<Serialized> = accounts.config().unwrap();
        assert!(format!("{config:?}").contains("After(300s)"), "{config:?}");
        let left = all.without_prefix(prefix);
        assert_eq!(left.iter().collect::<Vec<_>>(), [("Cache.Usr.expiration_time", "1h")]);
    }
    let unknown = Settings::from_iter([("backend", "memory"), ("Expires-In", "5m")]);
    let error = unknown.config::<Serialized>().unwrap_err().to_string();
    assert!(error.contains("Expires-In"), "as it was written: {error}");
}

/// An empty variable takes nothing away that a file says.
#[test]
fn an_empty_setting_overrides_nothing() {
    let empty = ("DOGPILE__USERS__EXPIRATION_TIME".to_owned(), " ".to_owned());
    let environment = Settings::from_variables("DOGPILE", [empty]);
    let file = Settings::from_iter([("users.expiration_time", "1h")]);
    assert_eq!(file.merge(environment).get("users.expiration_time"), Some("1h"));
}

proptest! {
    #[test]
    fn coercion_never_loses_a_text_and_reads_back_numbers(text in ".{0,20}", int: i64, float in -1e9..1e9_f64) {
        match coerce(&text) {
            Scalar::Text(kept) => prop_assert_eq!(kept, text.trim()),
            Scalar::None => prop_assert!(text.trim().eq_ignore_ascii_case("none")),
            Scalar::Bool(value) => prop_assert!(text.trim().eq_ignore_ascii_case(&value.to_string())),
            Scalar::Int(value) => prop_assert_eq!(text.trim().parse::<i64>(), Ok(value)),
            Scalar::Float(value) => prop_assert!(value.is_finite()),
        }
        prop_assert_eq!(coerce(&int.to_string()), Scalar::Int(int));
        prop_assert_eq!(coerce(&format!("{float:e}")), Scalar::Float(float));
    }
}

#[cfg(feature = "redis")]
#[test]
fn redis_takes_pythons_arguments_under_all_its_names() {
    let config = |settings: &[(&str, &str)]| -> Result<Config, _> {
        Settings::from_iter(settings.iter().copied()).config()
    };
    let common = [
        ("arguments.username", "app"),
        ("arguments.password", "secret"),
        ("arguments.redis_expiration_time", "3600"),
        ("arguments.distributed_lock", "true"),
        ("arguments.lock_timeout", "10"),
        ("arguments.lock_sleep", "0.1"),
        ("arguments.lock_blocking", "true"),
        ("arguments.lock_blocking_timeout", "5"),
        ("arguments.lock_prefix", "_lock"),
        ("arguments.key_prefix", "app:"),
        ("arguments.socket_timeout", "0.5"),
        ("arguments.socket_connect_timeout", "1"),
        ("arguments.socket_keepalive", "true"),
    ];
    for servers in [
        &[("backend", "redis"), ("arguments.url", "redis://localhost/1")][..],
        &[("backend", "dogpile.cache.valkey"), ("arguments.host", "h"), ("arguments.port", "1")],
        &[("backend", "redis_sentinel"), ("arguments.sentinels", "a:1, b:2")],
        &[("backend", "valkey_cluster"), ("arguments.startup_nodes", "a:1,b:2")],
    ] {
        let made = config(&[servers, &common].concat());
        let shown = format!("{:?}", made.unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
    for (name, value) in [
        ("arguments.lock_prefix", "x"),
        ("arguments.key_prefix", "white space"),
        ("arguments.lock_prefix", "white space"),
        ("arguments.lock_timeout", "0"),
        ("arguments.socket_timeout", "soon"),
        ("arguments.ssl_ca_certs", "/no/such/file"),
        ("arguments.color", "red"),
    ] {
        let told = config(&[("backend", "redis"), (name, value)]).unwrap_err().to_string();
        assert!(told.contains("redis"), "{told}");
    }
    let told = config(&[("backend", "redis"), ("arguments.url", "http://u:secret@h")]);
    let told = told.unwrap_err().to_string();
    assert!(told.contains("http") && !told.contains("secret"), "{told}");
    let with_tls =
        |url, ssl| config(&[("backend", "redis"), ("arguments.url", url), ("arguments.ssl", ssl)]);
    let told = with_tls("redis://u:secret@h", "true").unwrap_err().to_string();
    assert!(told.contains("rediss") && !told.contains("secret"), "{told}");
    with_tls("redis://h", "false").map(drop).unwrap();
    with_tls("rediss://h", "true").map(drop).unwrap();
}

/// The line of a mistake may hold a password.
#[cfg(feature = "toml")]
#[test]
fn an_error_in_toml_says_where_and_does_not_quote() {
    let document = "[cache]\nbackend = \"redis\"\narguments.password = \"hunter2\n";
    let error = Settings::from_toml(document).unwrap_err().to_string();
    assert!(error.contains("line 3") && !error.contains("hunter2"), "{error}");
}

/// Hosts as Python has them.
#[cfg(feature = "toml")]
#[test]
fn hosts_and_ports_are_written_in_several_ways() {
    let document = r#"
        url = ["a:1", "b"]
        sentinels = [["h", 26379], ["::1", 1]]
        startup_nodes = [{ host = "h", port = 7000 }]
    "#;
    let settings = Settings::from_toml(document).unwrap();
    let get = |name| settings.get(name).unwrap();
    assert_eq!(
        [get("url"), get("sentinels"), get("startup_nodes")],
        ["a:1,b", "h:26379,[::1]:1", "h:7000"]
    );
}
