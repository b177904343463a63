//! What the application remembers of one client: typed values and named JSON values.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A connection's own values, as [`WebSocket::state`](crate::WebSocket::state) gives them.
///
/// ```
/// let state = nexios::State::default();
/// // by type
/// #[derive(Debug, PartialEq)]
/// struct User(&'static str);
/// state.insert(User("ann"));
/// assert_eq!(*state.get::<User>().unwrap(), User("ann"));
/// // by name, as in the reference
/// state.set("user_id", 42);
/// assert_eq!(state.get_value("user_id"), Some(42.into()));
/// assert_eq!(state.get_as::<u64>("user_id"), Some(42));
/// ```
#[derive(Clone, Default)]
pub struct State(Rc<RefCell<Values>>);

#[derive(Default)]
struct Values {
    typed: HashMap<TypeId, Rc<dyn Any>>,
    named: BTreeMap<String, Value>,
}

impl State {
    /// Stores a value under its type; gives back the one before.
    pub fn insert<T: 'static>(&self, value: T) -> Option<Rc<T>> {
        let before = self.0.borrow_mut().typed.insert(TypeId::of::<T>(), Rc::new(value));
        before.and_then(|value| value.downcast().ok())
    }

    /// The value of this type.
    pub fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let value = self.0.borrow().typed.get(&TypeId::of::<T>()).cloned();
        value.and_then(|value| value.downcast().ok())
    }

    /// Takes the value of this type out.
    pub fn take<T: 'static>(&self) -> Option<Rc<T>> {
        let value = self.0.borrow_mut().typed.remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok())
    }

    /// Stores a JSON value under a name; gives back the one before.
    pub fn set(&self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.0.borrow_mut().named.insert(name.into(), value.into())
    }

    /// The JSON value of this name.
    pub fn get_value(&self, name: &str) -> Option<Value> {
        self.0.borrow().named.get(name).cloned()
    }

    /// The value of this name as a `T`; `None` also where it is something else.
    pub fn get_as<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_value(self.get_value(name)?).ok()
    }

    /// Takes the JSON value of this name out.
    pub fn remove(&self, name: &str) -> Option<Value> {
        self.0.borrow_mut().named.remove(name)
    }

    /// Whether there is a JSON value of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.borrow().named.contains_key(name)
    }

    /// The names of the JSON values, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.borrow().named.keys().cloned().collect()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&self.0.borrow().named).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_for_each_type_and_one_for_each_name() {
        let state = State::default();
        assert_eq!(state.insert(1_u8), None);
        assert_eq!(state.insert(2_u8), Some(Rc::new(1)));
        assert_eq!(state.insert("text"), None);
        assert_eq!(state.get::<u8>(), Some(Rc::new(2)));
        assert_eq!(state.take::<u8>(), Some(Rc::new(2)));
        assert_eq!(state.get::<u8>(), None);
        assert_eq!(state.set("room", "general"), None);
        assert_eq!(state.set("room", "dev"), Some("general".into()));
        assert_eq!(state.get_as::<String>("room").as_deref(), Some("dev"));
        assert_eq!(state.get_as::<u32>("room"), None);
        assert_eq!(state.names(), ["room"]);
        assert_eq!(state.remove("room"), Some("dev".into()));
        assert!(!state.contains("room"));
    }

    #[test]
    fn a_value_may_look_at_the_state_while_it_is_dropped() {
        struct Nosy(State);
        impl Drop for Nosy {
            fn drop(&mut self) {
                self.0.set("seen", true);
            }
        }
        let state = State::default();
        state.insert(Nosy(state.clone()));
        drop(state.take::<Nosy>());
        assert!(state.contains("seen"));
    }
}
