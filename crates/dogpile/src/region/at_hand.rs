//! The futures of reads that mostly end when they are polled for the first time.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Region;
use super::kind::{Cacheable, Kind};
use super::object_now::Code;
use super::options::Options;
use super::values::BoxFuture;
use crate::error::Result;

/// A read that looks at what is at hand, and goes on in another way only if that says nothing.
pub(super) trait Read<'c> {
    type Found;

    /// Returns what is found at once.
    fn now(&self) -> Option<Self::Found>;

    /// Returns the rest of the read.
    fn later(&self) -> BoxFuture<'c, Result<Self::Found>>;
}

/// The future of a read.
///
/// An `async fn` is compiled as a function of its own if it is called in several places, and a result that
/// may be an error is wide: to return one and to copy it was a quarter of a hit. This becomes a part of its
/// caller, who takes the value as it is found.
pub(super) struct AtHand<'c, R: Read<'c>> {
    read: R,
    rest: Option<BoxFuture<'c, Result<R::Found>>>,
}

impl<'c, R: Read<'c>> AtHand<'c, R> {
    #[inline]
    pub(super) fn new(read: R) -> Self {
        Self { read, rest: None }
    }

    #[cold]
    #[inline(never)]
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Result<R::Found>> {
        self.rest.get_or_insert_with(|| self.read.later()).as_mut().poll(context)
    }
}

impl<'c, R: Read<'c> + Unpin> Future for AtHand<'c, R> {
    type Output = Result<R::Found>;

    #[expect(clippy::inline_always, reason = "measured: a quarter of a hit")]
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.rest.is_none()
            && let Some(found) = self.read.now()
        {
            return Poll::Ready(Ok(found));
        }
        self.poll_rest(context)
    }
}

/// See [`Region::get`].
pub(super) struct Get<'c, T, K> {
    region: &'c Region<K>,
    key: &'c str,
    value: PhantomData<fn() -> T>,
}

impl<'c, T, K> Get<'c, T, K> {
    pub(super) const fn new(region: &'c Region<K>, key: &'c str) -> Self {
        Self { region, key, value: PhantomData }
    }
}

impl<'c, T: Cacheable<K>, K: Kind> Read<'c> for Get<'c, T, K> {
    type Found = Option<T>;

    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn now(&self) -> Option<Option<T>> {
        self.region.get_now(self.key, Options::NONE, Code::Caller)
    }

    fn later(&self) -> BoxFuture<'c, Result<Option<T>>> {
        self.region.get_boxed(self.key.into())
    }
}
