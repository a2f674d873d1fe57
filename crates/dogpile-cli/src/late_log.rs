//! A log that is built when there is first something to say: most processes have nothing, and
//! building it is a good part of a hit.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

type Log = Box<dyn Subscriber + Send + Sync>;

/// A log up to a level, built by `build`.
pub(crate) struct LateLog<B> {
    level: Level,
    build: B,
    built: OnceLock<Log>,
}

impl<B: Fn(Level) -> Log> LateLog<B> {
    pub(crate) fn new(level: Level, build: B) -> Self {
        Self { level, build, built: OnceLock::new() }
    }

    fn log(&self) -> &Log {
        self.built.get_or_init(|| (self.build)(self.level))
    }
}

impl<B: Fn(Level) -> Log + Send + Sync + 'static> Subscriber for LateLog<B> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.log().new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.log().record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.log().record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.log().event(event);
    }

    fn enter(&self, span: &Id) {
        self.log().enter(span);
    }

    fn exit(&self, span: &Id) {
        self.log().exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.log().clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.log().try_close(span)
    }
}
