//! A cached object whose type is known only to whoever put it in and to
//! whoever asks for it back.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A shared, type-erased object. Cloning it is one reference count.
#[derive(Clone)]
pub struct Object(Arc<dyn Erased>);

impl Object {
    /// Erases the type of `object`.
    pub fn new<T: Send + Sync + 'static>(object: T) -> Self {
        Self(Arc::new(object))
    }

    /// The object, if it is a `T`.
    pub fn downcast_ref<T: 'static>(&self) -> Option<&T> {
        let erased: &dyn Any = &*self.0;
        erased.downcast_ref()
    }

    /// Returns a `T` of one's own, if it is a `T`: the object itself where nobody else has it.
    pub(crate) fn into_value<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        let any: Arc<dyn Any + Send + Sync> = self.0;
        any.downcast().ok().map(Arc::unwrap_or_clone)
    }

    /// The name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        // Not of the `Arc`, which is an `Erased` like any other type.
        (*self.0).type_name()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.type_name())
    }
}

trait Erased: Any + Send + Sync {
    fn type_name(&self) -> &'static str;
}

impl<T: Any + Send + Sync> Erased for T {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}
