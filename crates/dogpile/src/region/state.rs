//! The configuration and counts of a region: one state of the process, and one in
//! each scope of a test.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::config::Config;
use super::configuration::{Configuration, InForce};
use super::core::{Core, FailureSeries, Shared};
use super::failed::FailedCreations;
use super::kind::{Cacheable, Kind};
use super::lookup::Answer;
use super::options::Options;
use crate::clock::Timeline;
use crate::error::{Error, InRegion, Result};
use crate::lock::{Freshness, KeyedMutex, Status};
use crate::process::PerProcess;
use crate::stats::Stats;

/// A region's configuration, once it has one, and what it keeps through others.
pub(crate) struct State {
    name: Cow<'static, str>,
    shared: OnceLock<Arc<Shared>>,
    core: Configuration,
    /// The configuration has a key generator other than the usual one.
    #[cfg(feature = "macros")]
    makes_own_keys: std::sync::atomic::AtomicBool,
    #[cfg(feature = "testing")]
    scoped: Option<Scoped>,
}

/// The parts of a state that only a scope has.
#[cfg(feature = "testing")]
struct Scoped {
    /// The clock of configurations that name none.
    clock: Arc<dyn crate::clock::Clock>,
    /// The configuration is the scope's, and gives way to the first that somebody asks for.
    is_assumed: std::sync::atomic::AtomicBool,
}

/// The result of a look into the backend without waiting, with what a caller takes of a hit.
pub(super) enum Now<A> {
    Hit(A),
    /// There is nothing stored.
    Absent,
    /// The backend must wait, or has something to be looked at more closely.
    Unclear,
}

impl<A> Now<A> {
    #[inline]
    pub(super) fn map<B>(self, take: impl FnOnce(A) -> B) -> Now<B> {
        match self {
            Self::Hit(answer) => Now::Hit(take(answer)),
            Self::Absent => Now::Absent,
            Self::Unclear => Now::Unclear,
        }
    }
}

impl State {
    pub(super) const fn unconfigured(name: Cow<'static, str>) -> Self {
        Self {
            name,
            shared: OnceLock::new(),
            core: Configuration::none(),
            #[cfg(feature = "macros")]
            makes_own_keys: std::sync::atomic::AtomicBool::new(false),
            #[cfg(feature = "testing")]
            scoped: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.shared.get_or_init(|| {
            Arc::new(Shared {
                name: self.name.clone().into_owned(),
                keys: KeyedMutex::new(),
                stats: Stats::new(),
                timeline: Timeline::new(),
                moments: Arc::default(),
                warned: std::sync::Once::new(),
                failures: FailureSeries::new(),
                failed: FailedCreations::default(),
                background: PerProcess::new(),
                changing: crate::sync::Mutex::default(),
                #[cfg(feature = "near")]
                near: crate::sync::Mutex::default(),
            })
        })
    }

    /// The configuration, if there is one.
    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.load().map(InForce::into_owned)
    }

    /// The first configuration, if there is one that was not replaced.
    #[inline]
    pub(super) fn first_core(&self) -> Option<&Core> {
        self.core.first().map(|core| &**core)
    }

    /// The configuration for a look at it.
    #[inline]
    pub(super) fn in_force(&self) -> Option<InForce<'_>> {
        self.core.load()
    }

    pub(super) fn configured(&self) -> Result<Arc<Core>> {
        self.core().ok_or_else(|| self.not_configured())
    }

    pub(super) fn not_configured(&self) -> Error {
        Error::NotConfigured(InRegion { region: self.name.clone().into_owned() }.into())
    }

    /// Has somebody configured it?
    pub(super) fn is_configured(&self) -> bool {
        #[cfg(feature = "testing")]
        if self.scoped.as_ref().is_some_and(Scoped::is_assumed) {
            return false;
        }
        self.core.load().is_some()
    }

    pub(super) fn configure<K: Kind>(&self, config: Config<K>) -> Result<()> {
        let replace = config.replace_existing;
        #[cfg(feature = "macros")]
        let makes_own_keys = config.makes_own_keys();
        let core = Arc::new(self.core_of(config)?);
        #[cfg(feature = "metrics")]
        self.shared().stats.publish_as(&self.name);
        let _changing = self.shared().changing.lock();
        if self.is_configured() && !replace {
            return Err(Error::AlreadyConfigured(
                InRegion { region: self.name.clone().into_owned() }.into(),
            ));
        }
        self.put_in_force(core);
        #[cfg(feature = "macros")]
        self.makes_own_keys.store(makes_own_keys, std::sync::atomic::Ordering::Relaxed);
        #[cfg(feature = "testing")]
        if let Some(scoped) = &self.scoped {
            scoped.is_assumed.store(false, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    #[cfg_attr(not(feature = "testing"), expect(unused_mut, reason = "a scope has a clock"))]
    fn core_of<K: Kind>(&self, mut config: Config<K>) -> Result<Core> {
        #[cfg(feature = "testing")]
        if let Some(scoped) = &self.scoped {
            config.clock.get_or_insert_with(|| scoped.clock.clone());
        }
        Core::new(self.shared().clone(), config)
    }

    /// Replaces the configuration by one that is made of it.
    pub(super) fn change(&self, change: impl FnOnce(&Core) -> Core) -> Result<()> {
        let _changing = self.shared().changing.lock();
        let core = self.configured()?;
        self.put_in_force(Arc::new(change(&core)));
        Ok(())
    }

    /// Puts `core` in force, and ends what the one before has done for later calls.
    fn put_in_force(&self, core: Arc<Core>) {
        #[cfg(feature = "near")]
        let before = self.core();
        #[cfg(feature = "near")]
        if let Some(before) = &before {
            before.replace_near(&core);
        }
        self.core.store(core);
        #[cfg(feature = "near")]
        if let Some(before) = before {
            before.end_near();
        }
    }

    #[cfg(feature = "macros")]
    #[inline]
    pub(super) fn key_generator(&self) -> Option<crate::key::KeyGenerator> {
        if !self.makes_own_keys.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        self.own_key_generator()
    }

    #[cfg(feature = "macros")]
    #[cold]
    fn own_key_generator(&self) -> Option<crate::key::KeyGenerator> {
        self.core.load().map(|core| core.key_generator)
    }

    /// Looks for a value where the backend needs not wait. Objects in memory are not found this way,
    /// but by the [short one](Self::object_now).
    #[expect(clippy::inline_always, reason = "measured: each move of a value is a tenth of a hit")]
    #[inline(always)]
    pub(super) fn look_now<K, T: Cacheable<K>, A>(
        &self,
        key: &str,
        options: &Options,
        take: impl FnMut(Answer<T>) -> A,
    ) -> Now<A> {
        #[cfg(feature = "serialized")]
        let mut take = take;
        #[cfg(feature = "serialized")]
        if let Some(core) = self.first_core()
            && let Some(now) = core.bytes_now(key, options, &mut take)
        {
            return now;
        }
        self.look_around(key, options).map(take)
    }

    #[inline(never)]
    fn look_around<K, T: Cacheable<K>>(&self, key: &str, options: &Options) -> Now<Answer<T>> {
        let Some(core) = self.core.load() else { return Now::Unclear };
        if core.invalidation_is_due() {
            return Now::Unclear;
        }
        let stored = core.stored_key(key);
        if core.owed.are_any() && core.owed.has(&stored) {
            return Now::Unclear;
        }
        // Looked at where it is: moving an entry about costs as much as the
        // rest of this function.
        let found = core.backend.get_now(&stored);
        let entry = match &found {
            Some(Ok(Some(entry))) => entry,
            Some(Ok(None)) => {
                let kept = core.kept_instead_of(&stored, None);
                return if kept.is_some() { Now::Unclear } else { Now::Absent };
            }
            Some(Err(_)) | None => return Now::Unclear,
        };
        if core.kept_instead_of(&stored, Some(entry)).is_some() {
            return Now::Unclear;
        }
        let now = core.clock.coarse_now();
        let found = core.freshness(key, &entry.metadata, options, now);
        if found != Freshness::Fresh && !core.is_created_early(found, &stored) {
            return Now::Unclear;
        }
        let Ok(value) = core.decode_entry(entry) else { return Now::Unclear };
        core.count_hit();
        Now::Hit(Answer { value, status: Status::Hit, ct: entry.metadata.ct, now })
    }
}

#[cfg(feature = "testing")]
impl State {
    /// The state of this region in a scope: empty, in memory, by `clock`.
    pub(crate) fn in_scope(&self, clock: Arc<dyn crate::clock::Clock>) -> Self {
        use crate::backend::MapBackend;

        let is_assumed = std::sync::atomic::AtomicBool::new(true);
        let scoped = Some(Scoped { clock, is_assumed });
        let state = Self { scoped, ..Self::unconfigured(self.name.clone()) };
        // It keeps objects, which fit regions of every kind.
        let assumed: Config = Config::new(MapBackend::unbounded());
        if let Ok(core) = state.core_of(assumed) {
            state.core.store(Arc::new(core));
        }
        state
    }
}

#[cfg(feature = "testing")]
impl Scoped {
    fn is_assumed(&self) -> bool {
        self.is_assumed.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// The state that a call is about.
pub(super) enum Current<'r> {
    OfProcess(&'r State),
    #[cfg(feature = "testing")]
    InScope(Arc<State>),
}

impl<'r> Current<'r> {
    #[inline]
    pub(super) fn of(own: &'r State) -> Self {
        #[cfg(feature = "testing")]
        if crate::testing::used::was_used() {
            return Self::in_scope(own);
        }
        Self::OfProcess(own)
    }

    #[cfg(feature = "testing")]
    #[cold]
    fn in_scope(own: &'r State) -> Self {
        let Some(scope) = crate::testing::Scope::current() else { return Self::OfProcess(own) };
        Self::InScope(scope.kept(own.shared(), |clock| own.in_scope(clock)))
    }
}

impl std::ops::Deref for Current<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        match self {
            Self::OfProcess(state) => state,
            #[cfg(feature = "testing")]
            Self::InScope(state) => state,
        }
    }
}
