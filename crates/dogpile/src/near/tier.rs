//! The near tier as a layer around a backend with its proxies: reads come from copies that hold, and
//! changes end them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::Near;
use super::admission::Admission;
use super::bound::{Bound, Mark, in_ticks};
use super::news::{News, Observer};
use super::store::{Copies, Copy, Said};
use crate::backend::{
    AnyBackend, BackendError, Boxed, Changed, Claimed, Commit, ErasedBackend, Follower, IfChanged,
    Looked, StateNow, Version, Wanted, Watch,
};
use crate::clock::ticks;
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::process::PerProcess;
use crate::stats::Count;
use crate::sync::Mutex;
use crate::value::{Entry, Object, Payload};

/// So many values are read at once where each is asked for by itself.
const TOGETHER: usize = 64;

/// A link is looked at so often, also where copies may be older, since one that was lost tells of
/// nothing.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// The near tier of a region. Clones share it.
#[derive(Clone)]
pub(crate) struct Tier(Arc<Shared>);

/// A tier that ends when nobody has it.
#[derive(Default)]
pub(crate) struct WeakTier(Weak<Shared>);

impl WeakTier {
    pub(crate) fn upgrade(&self) -> Option<Tier> {
        self.0.upgrade().map(Tier)
    }
}

/// The backend tells or is asked, until this is dropped or empty.
struct Following(Mutex<Option<Watch>>);

struct Shared {
    near: Near,
    prefix: String,
    news: Arc<News>,
    inner: AnyBackend,
    admission: Admission,
    stands_in_for: u64,
    following: PerProcess<Option<Following>>,
    /// The region has another tier now, or none.
    is_replaced: AtomicBool,
    /// Of a backend that is asked, and tells nothing.
    asks: OnceLock<StateNow>,
    /// Somebody was told that nobody tells of changes.
    warned: std::sync::Once,
}

/// A change of this process: copies end before it is sent, so that nobody reads what is about to
/// change, and when it is answered or given up, since what was read meanwhile may be of before.
struct Changing<'t> {
    tier: &'t Shared,
    keys: Vec<&'t str>,
}

impl<'t> Changing<'t> {
    fn begin(tier: &'t Shared, keys: Vec<&'t str>) -> Self {
        let changing = Self { tier, keys };
        changing.end_copies();
        changing
    }

    fn end_copies(&self) {
        self.tier.end_all_copies(&self.keys);
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.end_copies();
    }
}

impl Tier {
    /// Around `inner`, whose keys all begin with `prefix`.
    pub(crate) fn new(
        near: Near,
        inner: AnyBackend,
        prefix: &str,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let Near { max_entries, max_staleness, serve_when_down, broadcast } = near;
        // Present moments are that much older than they seem.
        let limit = max_staleness.saturating_sub(2 * ticks::RESOLUTION);
        let news = Arc::new(News {
            bound: Bound::new(max_entries, in_ticks(limit)),
            copies: Copies::new(max_entries),
            hasher: RandomState::new(),
            interval: (max_staleness / 4).min(LONGEST_INTERVAL),
            prefix: broadcast.then(|| inner.told_as(prefix).into_owned()),
            observer,
        });
        Self(Arc::new(Shared {
            near,
            prefix: prefix.to_owned(),
            news,
            inner,
            admission: Admission::new(max_entries),
            stands_in_for: in_ticks(serve_when_down),
            following: PerProcess::new(),
            is_replaced: AtomicBool::new(false),
            asks: OnceLock::new(),
            warned: std::sync::Once::new(),
        }))
    }

    /// Another one with the same options around another backend.
    pub(crate) fn around(&self, inner: AnyBackend) -> Self {
        let Shared { near, prefix, news, .. } = &*self.0;
        Self::new(near.clone(), inner, prefix, news.observer.clone())
    }

    /// Another tier will be in force, or none, when this is called; [`end`](Self::end) when it is.
    pub(crate) fn replace(&self) {
        self.0.is_replaced.store(true, Ordering::Release);
    }

    /// Ends all copies, and hears of changes no more. Calls that go on read without copies.
    pub(crate) fn end(&self) {
        let Shared { news, following, .. } = &*self.0;
        if let Some(Following(watch)) = following.get_or_init(|| None) {
            let ends = watch.lock().take();
            drop(ends);
        }
        news.bound.lose();
        news.bound.change_all();
        news.copies.clear();
    }

    /// These keys were changed by this process, and not through this tier.
    pub(crate) fn end_copies(&self, keys: &[&str]) {
        self.0.end_copies(keys);
    }

    pub(crate) fn downgrade(&self) -> WeakTier {
        WeakTier(Arc::downgrade(&self.0))
    }

    /// The backend around which it is.
    pub(crate) fn inner(&self) -> &AnyBackend {
        &self.0.inner
    }

    /// The backend with this around it.
    pub(crate) fn backend(&self) -> AnyBackend {
        self.0.inner.clone().within(self.clone())
    }

    /// Returns the copy that is at hand under `key`, if it holds.
    #[inline]
    pub(crate) fn at_hand(&self, key: &str) -> Option<Entry> {
        let copy = self.0.news.copies.get(key)?;
        self.0.holds(copy.said.mark).then(|| copy.entry())
    }

    /// Returns the copy that may stand in while the backend does not answer, as an expired value.
    pub(crate) fn stand_in(&self, key: &str) -> Option<Entry> {
        let Shared { news, stands_in_for, .. } = &*self.0;
        let copy = news.copies.peek(key)?;
        if *stands_in_for == 0
            || !news.bound.stands_in(copy.said.mark, ticks::now(), *stands_in_for)
        {
            return None;
        }
        news.count(Count::NearUnverified);
        let mut entry = copy.entry();
        entry.metadata.expired = true;
        Some(entry)
    }

    /// A caller has decoded these bytes, of which there may be a copy under `key`.
    pub(crate) fn note_decoded(&self, key: &str, bytes: &Bytes, value: impl FnOnce() -> Object) {
        let copies = &self.0.news.copies;
        let Some(copy) = copies.peek(key) else { return };
        // In the place of another copy it would be of another mark, and out of date as it says.
        if let Some(decoded) = copy.decoded(bytes, value) {
            copies.put(key, decoded);
        }
    }

    /// Returns a value: that of a copy that holds, if it `fits`, or what is stored.
    pub(crate) async fn read(
        &self,
        key: &str,
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Option<Entry>, BackendError> {
        match self.at_hand_if(key, &fits) {
            Some(entry) => Ok(Some(entry)),
            None => self.0.read(key, fits).await,
        }
    }

    /// Returns several values, each as [`read`](Self::read) does.
    pub(crate) async fn read_all(
        &self,
        keys: &[&str],
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        let mut entries: Vec<_> = keys.iter().map(|key| self.at_hand_if(key, &fits)).collect();
        let missing: Vec<usize> =
            (0..keys.len()).filter(|&index| entries[index].is_none()).collect();
        if !missing.is_empty() {
            let asked: Vec<&str> = missing.iter().map(|&index| keys[index]).collect();
            let read = self.0.read_all(&asked, fits).await?;
            missing.into_iter().zip(read).for_each(|(index, entry)| entries[index] = entry);
        }
        Ok(entries)
    }

    fn at_hand_if(&self, key: &str, fits: impl Fn(&Object) -> bool) -> Option<Entry> {
        let entry = self.at_hand(key).filter(|entry| match &entry.payload {
            Payload::Object(object) => fits(object),
            Payload::Bytes(_) | Payload::Unreadable(_) => true,
        })?;
        self.0.news.count(Count::NearHits);
        Some(entry)
    }

    /// Returns the number of copies.
    pub(crate) fn len(&self) -> usize {
        self.0.news.copies.len()
    }

    /// Returns the age of what is proved: no copy that holds is older, or was read since. `None`
    /// where nobody has told anything yet.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.0.news.age()
    }
}

impl Shared {
    /// Hears of changes from now on.
    fn follow(&self) {
        self.following.get_or_init(|| {
            // In a forked process the link of its parent tells nothing.
            self.news.bound.lose();
            let following = self.inner.follow(self.news.clone());
            if let Some(state) = following.as_ref().and_then(Watch::state) {
                // In a forked process the function of its parent answers too.
                let _ = self.asks.set(state.clone());
            }
            following.map(|watch| Following(Mutex::new(Some(watch))))
        });
    }

    /// This process knows of changes to what lies under `keys`.
    fn end_all_copies(&self, keys: &[&str]) {
        self.end_copies(keys);
        if self.is_replaced.load(Ordering::Acquire) {
            // Those who have come since may have copies too.
            self.news.observer.changed_late(keys);
        }
    }

    fn end_copies(&self, keys: &[&str]) {
        for key in keys {
            self.news.end(key, &self.inner.told_as(key));
        }
    }

    #[inline]
    fn holds(&self, mark: Mark) -> bool {
        let bound = &self.news.bound;
        match self.asks.get() {
            None => bound.holds(mark, ticks::now()),
            Some(state) => {
                let moment = ticks::now();
                bound.is_in_state(mark, state(), moment)
            }
        }
    }

    fn is_followed(&self) -> bool {
        self.following.get_or_init(|| None).is_some()
    }

    fn warn(&self) {
        self.warned.call_once(|| self.news.observer.is_unfollowed());
    }

    /// Notes a miss. Returns whether the key is worth a copy.
    fn is_due(&self, key: &str) -> bool {
        let hash = self.news.hasher.hash_one(key);
        self.news.count(Count::NearMisses);
        if self.is_replaced.load(Ordering::Acquire) {
            return false;
        }
        self.admission.is_due(hash, ticks::now()) || self.news.copies.has(key)
    }

    async fn read(
        &self,
        key: &str,
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Option<Entry>, BackendError> {
        if self.is_due(key) { self.fill(key, fits).await } else { self.inner.get(key).await }
    }

    /// Reads the value, and keeps a copy. One that is there already and `fits` need not be read.
    async fn fill(
        &self,
        key: &str,
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Option<Entry>, BackendError> {
        self.follow();
        let Self { news, inner, .. } = self;
        let before = news.copies.peek(key).filter(|copy| match copy.clone().entry().payload {
            Payload::Object(object) => fits(&object),
            Payload::Bytes(_) | Payload::Unreadable(_) => true,
        });
        let told_as = inner.told_as(key);
        let mark = news.bound.mark(news.stripe(&told_as), ticks::now());
        // A proxy that changes keys may change how they begin.
        let is_told = news.prefix.as_ref().is_none_or(|prefix| told_as.starts_with(prefix));
        let mark = match self.asks.get() {
            Some(state) => mark.in_state(state()),
            None if is_told => mark,
            None => mark.unfollowed(),
        };
        let since = before.as_ref().map(|copy| copy.said.version);
        match inner.get_if_changed(key, since).await? {
            IfChanged::NotModified { is_followed } => match before {
                Some(copy) => {
                    let copy = copy.marked(self.marked(mark, is_followed));
                    news.copies.put(key, copy.clone());
                    Ok(Some(copy.entry()))
                }
                None => inner.get(key).await,
            },
            IfChanged::Read { entry, version, is_followed } => {
                if before.is_some() {
                    news.count(Count::NearChanged);
                }
                self.keep(key, entry.as_ref(), version, self.marked(mark, is_followed));
                Ok(entry)
            }
        }
    }

    fn marked(&self, mark: Mark, is_told: bool) -> Mark {
        match (self.is_followed(), is_told) {
            (true, true) => return mark,
            (true, false) => self.warn(),
            // That is the way of this backend.
            (false, _) => {}
        }
        mark.unfollowed()
    }

    fn keep(&self, key: &str, entry: Option<&Entry>, version: Option<Version>, mark: Mark) {
        match (entry, version) {
            (Some(entry), Some(version)) if matches!(entry.payload, Payload::Bytes(_)) => {
                self.news.copies.put(key, Copy::new(entry.clone(), mark, version));
            }
            _ => {
                self.news.copies.remove(key);
            }
        }
        self.news.measure();
    }

    /// Reads several values: those that are due one by one, since each is to be told of.
    async fn read_all(
        &self,
        keys: &[&str],
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        let (due, others): (Vec<usize>, Vec<usize>) =
            (0..keys.len()).partition(|&index| self.is_due(keys[index]));
        let asked: Vec<&str> = others.iter().map(|&index| keys[index]).collect();
        let read = if asked.is_empty() { Vec::new() } else { self.inner.get_multi(&asked).await? };
        let mut filled = Vec::with_capacity(due.len());
        for some in due.chunks(TOGETHER) {
            let fills = some.iter().map(|&index| self.fill(keys[index], &fits));
            filled.extend(all(fills.collect()).await?);
        }
        let mut entries = vec![None; keys.len()];
        for (index, entry) in due.into_iter().zip(filled).chain(others.into_iter().zip(read)) {
            entries[index] = entry;
        }
        Ok(entries)
    }
}

impl ErasedBackend for Tier {
    fn name(&self) -> String {
        self.0.inner.name()
    }

    fn keeps_objects(&self) -> bool {
        self.0.inner.keeps_objects()
    }

    fn is_shared(&self) -> bool {
        self.0.inner.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        // No objects: whoever asks so may store it again.
        Box::pin(self.0.read(key, |_| false))
    }

    #[inline]
    fn look_now(&self, key: &str, look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        let look = RefCell::new(look);
        let look = |object: &Object| (look.borrow_mut())(object).then_some(());
        match self.0.news.copies.look(key, look) {
            Some((Said { ct, begun, mark, .. }, ())) if !ct.is_nan() && self.0.holds(mark) => {
                Looked::object(ct, begun)
            }
            _ => Looked::UNKNOWN,
        }
    }

    #[inline]
    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.at_hand(key).map(|entry| Ok(Some(entry)))
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(async move {
            let _changing = Changing::begin(&self.0, vec![key]);
            self.0.inner.set(key, entry).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(async move {
            let _changing = Changing::begin(&self.0, vec![key]);
            self.0.inner.delete(key).await
        })
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(self.0.read_all(keys, |_| false))
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let keys = entries.iter().map(|(key, _)| *key).collect();
            let _changing = Changing::begin(&self.0, keys);
            self.0.inner.set_multi(entries).await
        })
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let _changing = Changing::begin(&self.0, keys.to_vec());
            self.0.inner.delete_multi(keys).await
        })
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.0.inner.mutex()
    }

    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(async move {
            let asked: Vec<&str> = keys.iter().map(|wanted| wanted.key).collect();
            let claims = self.0.inner.claim(keys).await?;
            for (key, claim) in asked.into_iter().zip(&claims) {
                // Whoever gets this must not get an older one after that.
                if matches!(claim, Claimed::Changed(_)) {
                    self.0.end_all_copies(&[key]);
                }
            }
            Ok(claims)
        })
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(async move {
            let keys = changes.iter().map(|change| change.key).collect();
            let _changing = Changing::begin(&self.0, keys);
            self.0.inner.commit(changes).await
        })
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.inner.release(leases))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.0.inner.watch(key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.0.inner.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        Box::pin(self.0.inner.get_if_changed(key, since))
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.0.inner.told_as(key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.0.inner.recommended_mangler()
    }
}

/// Awaits some futures at once, until one of them fails.
async fn all<T, F: Future<Output = Result<T, BackendError>>>(
    futures: Vec<F>,
) -> Result<Vec<T>, BackendError> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let open = futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none());
        let mut is_over = true;
        for (future, done) in open {
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => *done = Some(result?),
                Poll::Pending => is_over = false,
            }
        }
        if is_over { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}
