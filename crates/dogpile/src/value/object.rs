//! A cached object whose type is known only to whoever put it in and to
//! whoever asks for it back.
//!
//! A value that is no larger than a pointer lies in the object itself, others behind a pointer. Most
//! values that are small are pointers themselves, an `Arc` or a number: among many entries each pointer on
//! the way to a value is a miss of the processor's cache.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use smallbox::SmallBox;
use smallbox::space::S1;

/// A type-erased object. Cloning it is one reference count, or a clone of a value that is no larger
/// than a pointer.
pub struct Object(SmallBox<dyn Erased, S1>);

/// Is a value kept in the object itself?
const fn is_small<T>() -> bool {
    size_of::<T>() <= size_of::<usize>() && align_of::<T>() <= align_of::<usize>()
}

impl Object {
    /// Erases the type of `value`.
    pub fn new<T: Clone + Send + Sync + 'static>(value: T) -> Self {
        if is_small::<T>() {
            Self(smallbox::smallbox!(Own(value)))
        } else {
            Self(smallbox::smallbox!(Shared(Arc::new(value))))
        }
    }

    /// The object, if it is a `T`.
    #[inline]
    pub fn downcast_ref<T: 'static>(&self) -> Option<&T> {
        let erased: &dyn Any = &*self.0;
        if is_small::<T>() {
            let Own(value) = erased.downcast_ref()?;
            Some(value)
        } else {
            let Shared(value) = erased.downcast_ref()?;
            Some(value)
        }
    }

    /// Returns a `T` of one's own, if it is a `T`: the object itself where nobody else has it.
    pub(crate) fn into_value<T: Clone + Send + Sync + 'static>(self) -> Option<T> {
        let erased: &dyn Any = &*self.0;
        match erased.downcast_ref() {
            Some(Shared(value)) => {
                let value = Arc::clone(value);
                drop(self);
                Some(Arc::unwrap_or_clone(value))
            }
            None => self.downcast_ref().cloned(),
        }
    }

    /// The name of its type, for messages.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name()
    }
}

impl Clone for Object {
    fn clone(&self) -> Self {
        self.0.share()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.type_name())
    }
}

/// A small value.
struct Own<T>(T);

/// Any other.
struct Shared<T>(Arc<T>);

trait Erased: Any + Send + Sync {
    fn share(&self) -> Object;
    fn type_name(&self) -> &'static str;
}

impl<T: Clone + Send + Sync + 'static> Erased for Own<T> {
    fn share(&self) -> Object {
        Object::new(self.0.clone())
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}

impl<T: Send + Sync + 'static> Erased for Shared<T> {
    fn share(&self) -> Object {
        Object(smallbox::smallbox!(Self(self.0.clone())))
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how many there are.
    struct Counted(&'static AtomicUsize);

    impl Counted {
        fn new(count: &'static AtomicUsize) -> Self {
            count.fetch_add(1, Ordering::SeqCst);
            Self(count)
        }
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            Self::new(self.0)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn is_kept<T: Clone + PartialEq + fmt::Debug + Send + Sync + 'static>(value: &T) {
        let object = Object::new(value.clone());
        let other = object.clone();
        assert_eq!(object.downcast_ref(), Some(value));
        assert_eq!(object.downcast_ref::<[T; 1]>(), None);
        assert_eq!(object.type_name(), std::any::type_name::<T>());
        drop(object);
        assert_eq!(other.into_value().as_ref(), Some(value));
    }

    #[test]
    fn values_of_all_sizes_are_kept() {
        is_kept(&());
        is_kept(&[0_u64; 0]);
        is_kept(&7_u8);
        is_kept(&u64::MAX);
        is_kept(&u128::MAX);
        is_kept(&Arc::new(String::from("shared")));
        is_kept(&Some(Box::new(7)));
        is_kept(&String::from("text"));
        is_kept(&[7_u64; 100]);
    }

    #[test]
    fn a_value_is_dropped_as_often_as_it_was_made() {
        static SMALL: AtomicUsize = AtomicUsize::new(0);
        static LARGE: AtomicUsize = AtomicUsize::new(0);
        let objects =
            [Object::new(Counted::new(&SMALL)), Object::new((Counted::new(&LARGE), [0_u64; 9]))];
        let copies = objects.clone();
        let counts = || [&SMALL, &LARGE].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts(), [2, 1], "the large one is shared");
        drop(objects);
        assert_eq!(counts(), [1, 1]);
        let [small, large] = copies;
        let values = (small.into_value::<Counted>(), large.into_value::<(Counted, [u64; 9])>());
        assert!(values.0.is_some() && values.1.is_some());
        drop(values);
        assert_eq!(counts(), [0, 0]);
    }

    #[test]
    fn a_large_value_that_nobody_else_has_is_not_cloned() {
        let text = String::from("text");
        let at = text.as_ptr();
        let same: String = Object::new(text).into_value().unwrap();
        assert_eq!(same.as_ptr(), at);
    }
}
