//! Awaitables that are done at the call; awaiting them costs nothing.

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors;

/// A coroutine to asyncio that has its result already. Any thread may await it.
#[pyclass(frozen, module = "nexios._nexios")]
pub(crate) struct Completed {
    value: Option<Py<PyAny>>,
}

static NOTHING: PyOnceLock<Py<Completed>> = PyOnceLock::new();

impl Completed {
    /// The one that gives `None`.
    pub(crate) fn nothing(py: Python<'_>) -> PyResult<Py<PyAny>> {
        let one = NOTHING.get_or_try_init(py, || Py::new(py, Completed { value: None }))?;
        Ok(one.clone_ref(py).into_any())
    }

    pub(crate) fn with(py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Completed { value: Some(value) })?.into_any())
    }
}

#[pymethods]
impl Completed {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.value {
            None => Ok(None),
            Some(value) => Err(PyStopIteration::new_err((value.clone_ref(py),))),
        }
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = self.value.as_ref().map(|value| value.clone_ref(py));
        Err(PyStopIteration::new_err((value,)))
    }

    #[pyo3(signature = (kind, value = None, _traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(errors::thrown(kind, value))
    }

    fn close(&self) {}
}
