//! Descriptors of the traced processes: shared by `dup` and `fork`, gone with the last of them.

use std::{collections::BTreeMap, rc::Rc};

use tce_engine::kernel::Fd;

/// Open descriptors of all processes; each leads to a file.
#[derive(Debug)]
pub(crate) struct Descriptors<T> {
    open: BTreeMap<(u32, i32), Rc<T>>,
}

impl<T> Default for Descriptors<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<T> Descriptors<T> {
    /// Opens a file. Gives back what had the number before, if nothing else holds it.
    pub(crate) fn open(&mut self, process: u32, fd: Fd, file: T) -> Option<T> {
        self.open.insert((process, fd.raw()), Rc::new(file)).and_then(Rc::into_inner)
    }

    pub(crate) fn get(&self, process: u32, fd: Fd) -> Option<&T> {
        self.open.get(&(process, fd.raw())).map(Rc::as_ref)
    }

    /// Whether this descriptor is the only one on its file.
    pub(crate) fn is_last(&self, process: u32, fd: Fd) -> bool {
        self.open.get(&(process, fd.raw())).is_some_and(|file| Rc::strong_count(file) == 1)
    }

    /// `dup`.
    pub(crate) fn duplicate(&mut self, process: u32, fd: Fd, copy: Fd) -> Option<T> {
        let file = Rc::clone(self.open.get(&(process, fd.raw()))?);
        self.open.insert((process, copy.raw()), file).and_then(Rc::into_inner)
    }

    /// Closes a descriptor. Gives back the file if it was the last.
    pub(crate) fn close(&mut self, process: u32, fd: Fd) -> Option<T> {
        self.open.remove(&(process, fd.raw())).and_then(Rc::into_inner)
    }

    /// `fork`.
    pub(crate) fn inherit(&mut self, parent: u32, child: u32) {
        let of_parent = self.open.range((parent, i32::MIN)..=(parent, i32::MAX));
        let copies: Vec<_> =
            of_parent.map(|((_, fd), file)| ((child, *fd), Rc::clone(file))).collect();
        self.open.extend(copies);
    }

    /// The descriptors of a process, in ascending order.
    pub(crate) fn of(&self, process: u32) -> Vec<Fd> {
        let all = self.open.range((process, i32::MIN)..=(process, i32::MAX));
        all.map(|((_, fd), _)| Fd::new(*fd)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_gone_with_its_last_descriptor() {
        let mut all = Descriptors::default();
        let [a, b] = [3, 4].map(Fd::new);
        assert_eq!(all.open(1, a, "file"), None);
        assert!(all.is_last(1, a));
        assert_eq!(all.duplicate(1, a, b), None);
        all.inherit(1, 2);
        assert_eq!((all.close(1, a), all.close(1, b), all.close(2, a)), (None, None, None));
        assert!(all.is_last(2, b));
        assert_eq!(all.of(2), [b]);
        assert_eq!(all.close(2, b), Some("file"));
        assert_eq!(all.close(2, b), None);
    }

    #[test]
    fn what_an_open_replaces_is_given_back() {
        let mut all = Descriptors::default();
        assert_eq!(all.open(1, Fd::new(3), "first"), None);
        assert_eq!(all.open(1, Fd::new(3), "second"), Some("first"));
    }
}
