//! A region against a model of it that is too simple to be wrong: random
//! operations in sequence under a clock that stands still in between, over a
//! backend of objects and one of bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::{Config, Expiration, Region, Status};
use dogpile_testkit::ManualClock;
use proptest::prelude::*;

const KEYS: u8 = 4;
const EXPIRATION: f64 = 60.0;

#[derive(Debug, Clone)]
enum Operation {
    Advance(u32),
    Get(u8),
    GetNoOlderThan(u8, u32),
    GetWhatever(u8),
    GetMulti(Vec<u8>),
    Set(u8, u32),
    SetMulti(Vec<(u8, u32)>),
    Delete(u8),
    DeleteMulti(Vec<u8>),
    Create(u8, u32),
    CreateButNotStore(u8, u32),
    FailToCreate(u8),
    CreateMulti(Vec<u8>, u32),
    Invalidate(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{
        Advance, Create, CreateButNotStore, CreateMulti, Delete, DeleteMulti, FailToCreate, Get,
        GetMulti, GetNoOlderThan, GetWhatever, Invalidate, Set, SetMulti,
    };
    let key = || 0..KEYS;
    let keys = || prop::collection::vec(0..KEYS, 0..6);
    prop_oneof![
        (1_u32..90).prop_map(Advance),
        key().prop_map(Get),
        (key(), 0_u32..120).prop_map(|(key, age)| GetNoOlderThan(key, age)),
        key().prop_map(GetWhatever),
        keys().prop_map(GetMulti),
        (key(), any::<u32>()).prop_map(|(key, value)| Set(key, value)),
        prop::collection::vec((key(), any::<u32>()), 0..4).prop_map(SetMulti),
        key().prop_map(Delete),
        keys().prop_map(DeleteMulti),
        (key(), any::<u32>()).prop_map(|(key, value)| Create(key, value)),
        (key(), any::<u32>()).prop_map(|(key, value)| CreateButNotStore(key, value)),
        key().prop_map(FailToCreate),
        (keys(), any::<u32>()).prop_map(|(keys, value)| CreateMulti(keys, value)),
        any::<bool>().prop_map(Invalidate),
    ]
}

/// Time is counted in events as well as seconds: what happened later is later,
/// at whatever time.
#[derive(Debug, Default)]
struct Model {
    stored: BTreeMap<u8, (u32, f64, u64)>,
    now: f64,
    events: u64,
    hard: u64,
    soft: u64,
}

impl Model {
    fn store(&mut self, key: u8, value: u32) {
        self.events += 1;
        self.stored.insert(key, (value, self.now, self.events));
    }

    fn invalidate(&mut self, hard: bool) {
        self.events += 1;
        *(if hard { &mut self.hard } else { &mut self.soft }) = self.events;
    }

    fn fresh(&self, key: u8, max_age: f64) -> Option<u32> {
        let (value, at, event) = *self.stored.get(&key)?;
        let valid = event > self.hard && event > self.soft && self.now - at <= max_age;
        valid.then_some(value)
    }

    /// Returns what a creating call returns and how.
    fn create(&mut self, key: u8, value: u32, store: bool) -> (u32, Status) {
        if let Some(fresh) = self.fresh(key, EXPIRATION) {
            return (fresh, Status::Hit);
        }
        if store {
            self.store(key, value);
        }
        (value, Status::Created)
    }
}

fn name(key: u8) -> String {
    format!("key{key}")
}

async fn check(backend: AnyBackend, operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let clock = ManualClock::at(1_763_700_000.0);
    let region = Region::new("model");
    let config = Config::over(backend).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs_f64(EXPIRATION))).unwrap();
    let mut model = Model::default();
    for operation in operations {
        step(&region, &clock, &mut model, operation).await?;
    }
    Ok(())
}

async fn step(
    region: &Region,
    clock: &ManualClock,
    model: &mut Model,
    operation: Operation,
) -> Result<(), TestCaseError> {
    match operation {
        Operation::Advance(seconds) => {
            // Off the whole second, so that the model need not know to the
            // microsecond what happens on the edge.
            clock.advance(Duration::from_secs_f64(f64::from(seconds) + 0.01));
            model.now += f64::from(seconds) + 0.01;
        }
        Operation::Get(key) => {
            prop_assert_eq!(region.get(&name(key)).await.unwrap(), model.fresh(key, EXPIRATION));
        }
        Operation::GetNoOlderThan(key, age) => {
            let limit = Duration::from_secs_f64(f64::from(age) + 0.005);
            let found = region.entry(name(key)).expiration(limit).get::<u32>().await.unwrap();
            prop_assert_eq!(found, model.fresh(key, limit.as_secs_f64()));
            let never = region.entry(name(key)).expiration(Expiration::Never).get::<u32>().await;
            prop_assert_eq!(never.unwrap(), model.fresh(key, f64::INFINITY));
        }
        Operation::GetWhatever(key) => {
            let found = region.entry(name(key)).ignore_expiration().get::<u32>().await.unwrap();
            prop_assert_eq!(found, model.stored.get(&key).map(|(value, ..)| *value));
        }
        Operation::GetMulti(keys) => {
            let found =
                region.get_multi::<u32, _>(keys.iter().map(|&key| name(key))).await.unwrap();
            let expected: Vec<_> = keys.iter().map(|&key| model.fresh(key, EXPIRATION)).collect();
            prop_assert_eq!(found, expected);
        }
        Operation::Set(key, value) => {
            region.set(&name(key), &value).await.unwrap();
            model.store(key, value);
        }
        Operation::SetMulti(values) => {
            let named = values.iter().map(|(key, value)| (name(*key), value));
            region.set_multi(named).await.unwrap();
            values.into_iter().for_each(|(key, value)| model.store(key, value));
        }
        Operation::Delete(key) => {
            region.delete(&name(key)).await.unwrap();
            model.stored.remove(&key);
        }
        Operation::DeleteMulti(keys) => {
            region.delete_multi(keys.iter().map(|&key| name(key))).await.unwrap();
            model.stored.retain(|key, _| !keys.contains(key));
        }
        Operation::Create(key, value) => {
            let entry = region.entry(name(key));
            let lookup = entry.lookup(async || value).await;
            prop_assert_eq!((lookup.value, lookup.status), model.create(key, value, true));
        }
        Operation::CreateButNotStore(key, value) => {
            let entry = region.entry(name(key)).should_cache(|_: &u32| false);
            let lookup = entry.lookup(async || value).await;
            prop_assert_eq!((lookup.value, lookup.status), model.create(key, value, false));
        }
        Operation::FailToCreate(key) => {
            let made = region.try_get_or_create(&name(key), async || Err::<u32, _>("failed")).await;
            prop_assert_eq!(made, model.fresh(key, EXPIRATION).ok_or("failed"));
        }
        Operation::CreateMulti(keys, value) => create_multi(region, model, keys, value).await?,
        Operation::Invalidate(hard) => {
            if hard { region.invalidate_all().await } else { region.expire_all().await }.unwrap();
            model.invalidate(hard);
        }
    }
    Ok(())
}

async fn create_multi(
    region: &Region,
    model: &mut Model,
    keys: Vec<u8>,
    value: u32,
) -> Result<(), TestCaseError> {
    let mut missing: Vec<u8> = Vec::new();
    for &key in &keys {
        if model.fresh(key, EXPIRATION).is_none() && !missing.contains(&key) {
            missing.push(key);
        }
    }
    let asked = std::sync::Mutex::new(Vec::new());
    let made = region.get_or_create_multi(keys.iter().map(|&key| name(key)), |keys| {
        asked.lock().unwrap().extend(keys.clone());
        async move { (0..).zip(keys).map(|(n, _)| value.wrapping_add(n)).collect() }
    });
    let made = made.await.unwrap();
    prop_assert_eq!(
        asked.into_inner().unwrap(),
        missing.iter().map(|&key| name(key)).collect::<Vec<_>>()
    );
    for (n, &key) in (0..).zip(&missing) {
        model.store(key, value.wrapping_add(n));
    }
    let expected: Vec<u32> =
        keys.iter().map(|&key| model.fresh(key, EXPIRATION).unwrap()).collect();
    prop_assert_eq!(made, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_region_of_objects_is_as_its_model(operations in prop::collection::vec(operation(), 1..60)) {
        pollster::block_on(check(AnyBackend::new(Memory::new(1_000)), operations))?;
    }

    #[test]
    fn a_region_of_bytes_is_as_its_model(operations in prop::collection::vec(operation(), 1..60)) {
        pollster::block_on(check(AnyBackend::new(SerializedMemory::new(1_000)), operations))?;
    }
}
