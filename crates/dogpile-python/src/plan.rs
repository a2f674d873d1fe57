//! A region's attributes in force. A plan never changes: to assign an attribute puts another
//! plan in its place.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use crate::dict::Values;
use crate::engine::{Engine, Options};
use crate::invalidation::Moment;
use crate::reader::Reader;
use crate::value::Codec;

pub(crate) struct Plan {
    /// The user's name of the region, for messages.
    pub(crate) name: Option<Py<PyAny>>,
    pub(crate) mangler: Option<Py<PyAny>>,
    pub(crate) serializer: Option<Py<PyAny>>,
    pub(crate) deserializer: Option<Py<PyAny>>,
    pub(crate) runner: Option<Py<PyAny>>,
    pub(crate) backend: Option<Py<PyAny>>,
    pub(crate) expiration: Option<Py<PyAny>>,
    /// The expiration in seconds; not a number: there is none.
    pub(crate) max_age: f64,
    pub(crate) invalidator: Option<Py<PyAny>>,
    /// Of the invalidator, if that is the usual one.
    pub(crate) moment: Option<Arc<Moment>>,
    pub(crate) values: Option<Arc<Values>>,
    /// True for the first of the regions over this dict.
    pub(crate) is_first: bool,
    /// Reads from a backend of Python's.
    pub(crate) reader: Option<Arc<Reader>>,
    /// Options of the engine.
    pub(crate) options: Arc<Options>,
    /// The crate's region, over the dict or over a backend of the crate's that no proxy hides.
    pub(crate) engine: Option<Engine>,
}

impl Plan {
    /// The plan of a region that is not configured.
    pub(crate) fn empty() -> Self {
        Self {
            name: None,
            mangler: None,
            serializer: None,
            deserializer: None,
            runner: None,
            backend: None,
            expiration: None,
            max_age: f64::NAN,
            invalidator: None,
            moment: None,
            values: None,
            is_first: false,
            reader: None,
            options: Arc::default(),
            engine: None,
        }
    }

    pub(crate) fn copy(&self, py: Python<'_>) -> Self {
        let again = |it: &Option<Py<PyAny>>| it.as_ref().map(|it| it.clone_ref(py));
        Self {
            name: again(&self.name),
            mangler: again(&self.mangler),
            serializer: again(&self.serializer),
            deserializer: again(&self.deserializer),
            runner: again(&self.runner),
            backend: again(&self.backend),
            expiration: again(&self.expiration),
            max_age: self.max_age,
            invalidator: again(&self.invalidator),
            moment: self.moment.clone(),
            values: self.values.clone(),
            is_first: self.is_first,
            reader: self.reader.clone(),
            options: self.options.clone(),
            engine: self.engine.clone(),
        }
    }

    /// The region's name in messages.
    pub(crate) fn shown_name(&self, py: Python<'_>) -> PyResult<String> {
        match &self.name {
            Some(name) => Ok(name.bind(py).str()?.to_string_lossy().into_owned()),
            None => Ok("unnamed".to_owned()),
        }
    }

    /// Are values read from a dict, or from a backend of Python's?
    pub(crate) fn is_pythons(&self) -> bool {
        self.engine.is_none() || self.values.is_some()
    }

    /// The function that makes bytes of values, if there is one.
    pub(crate) fn codec(&self, py: Python<'_>) -> Option<Codec> {
        let serializer = self.serializer.as_ref()?.clone_ref(py);
        let deserializer = self.deserializer.as_ref()?.clone_ref(py);
        Some(Codec { serializer, deserializer, is_remote: false })
    }

    /// The limit of ages for a call; not a number: there is none. Creating calls know -1 for that.
    #[inline]
    pub(crate) fn limit(
        &self,
        expiration_time: Option<&Bound<'_, PyAny>>,
        creates: bool,
    ) -> PyResult<f64> {
        let limit = match expiration_time {
            None => self.max_age,
            Some(time) => time.extract()?,
        };
        #[expect(clippy::float_cmp, reason = "Python's -1 is exact")]
        let is_none = creates && limit == -1.0;
        Ok(if is_none { f64::NAN } else { limit })
    }

    /// Keeps the values in a dict, or in none.
    pub(crate) fn use_dict(&mut self, dict: Option<&Bound<'_, PyDict>>) {
        let (values, is_new) = dict.map(Values::of).unzip();
        let had = self.values.as_ref().map(Arc::as_ptr) == values.as_ref().map(Arc::as_ptr);
        self.is_first = is_new == Some(true) || (had && self.is_first);
        self.values = values;
    }

    /// Tells the collector of all objects.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let objects = [
            &self.name,
            &self.mangler,
            &self.serializer,
            &self.deserializer,
            &self.runner,
            &self.backend,
            &self.expiration,
            &self.invalidator,
        ];
        for object in objects {
            visit.call(object)?;
        }
        if let Some(reader) = &self.reader {
            reader.traverse(visit)?;
        }
        match &self.values {
            Some(values) => values.traverse(self.is_first, visit),
            None => Ok(()),
        }
    }
}
