//! Handles that cannot be mistaken for one another: a place and a generation that is never reused.

use std::fmt;

/// A place in a bounded store, and which of its occupants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    /// The place, which is below the store's limit.
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    /// The handle as one number, unique for the life of its engine.
    #[must_use]
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// A bounded store whose handles stay dead once their value is gone.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    places_max: usize,
}

impl<T> Slots<T> {
    pub(crate) const fn new(places_max: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), places_max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() >= self.places_max
    }

    pub(crate) fn insert(&mut self, value: T) -> Option<Handle> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < self.places_max => {
                self.places.push(Place { generation: 0, value: None });
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let place = self.places.get_mut(usize::try_from(index).ok()?)?;
        place.value = Some(value);
        Some(Handle { index, generation: place.generation })
    }

    /// Takes a value out. A place whose generations are used up is not filled again.
    pub(crate) fn remove(&mut self, handle: Handle) -> Option<T> {
        let place = self.place_mut(handle)?;
        let value = place.value.take()?;
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(handle.index);
        }
        Some(value)
    }

    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let place = self.places.get(usize::try_from(handle.index).ok()?)?;
        if place.generation == handle.generation { place.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        self.place_mut(handle)?.value.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.places.iter().zip(0u32..).filter_map(|(place, index)| {
            let value = place.value.as_ref()?;
            Some((Handle { index, generation: place.generation }, value))
        })
    }

    fn place_mut(&mut self, handle: Handle) -> Option<&mut Place<T>> {
        let place = self.places.get_mut(usize::try_from(handle.index).ok()?)?;
        (place.generation == handle.generation).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_stays_dead_when_its_place_is_filled_again() {
        let mut slots = Slots::new(1);
        let old = slots.insert('a').expect("room");
        assert!(slots.is_full());
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b').expect("room again");
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get(new), Some(&'b'));
        assert_ne!(old.number(), new.number());
    }

    #[test]
    fn there_is_a_limit() {
        let mut slots = Slots::new(2);
        assert!(slots.insert(1).is_some() && slots.insert(2).is_some());
        assert_eq!(slots.insert(3), None);
    }
}
