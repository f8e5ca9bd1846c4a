//! A kernel some of whose calls are spoiled on their way: the engine asks for what is right, and the kernel, the real one
//! too, is asked for something that it fails. So a failure in the middle of a batch can be had on any machine.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tce_engine::{
    addr::{Bytes, HostAddr, Iova},
    kernel::{ContainerFd, Kernel, Layer, MapCall, Raw, UnmapCall},
};

/// How a call is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// It maps the memory here instead. An unmap stays as it is.
    Memory(HostAddr),
    /// Its bus address lies inside a page, to which the kernel says +1.
    Misaligned,
}

/// Says which calls are spoiled. Clones say it together.
#[derive(Clone, Debug, Default)]
pub struct Saboteur(Rc<RefCell<VecDeque<Option<Spoil>>>>);

impl Saboteur {
    /// Spoils the coming calls of `MAP_DMA` and `UNMAP_DMA`, one after the other; `None` leaves one as it is.
    pub fn spoil(&self, coming: impl IntoIterator<Item = Option<Spoil>>) {
        *self.0.borrow_mut() = coming.into_iter().collect();
    }

    /// How many of the calls that were to be spoiled, or left as they are, have not come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.borrow().len()
    }

    fn next(&self) -> Option<Spoil> {
        self.0.borrow_mut().pop_front().flatten()
    }
}

/// A kernel whose `MAP_DMA` and `UNMAP_DMA` a [`Saboteur`] may spoil. All other calls go through.
#[derive(Debug)]
pub struct SpoiledKernel<K> {
    kernel: K,
    saboteur: Saboteur,
}

impl<K: Kernel> SpoiledKernel<K> {
    /// A kernel in the hands of a saboteur.
    pub const fn new(kernel: K, saboteur: Saboteur) -> Self {
        Self { kernel, saboteur }
    }
}

/// A bus address that is in the same page, but not at its start.
fn misaligned(iova: Iova) -> Iova {
    iova.checked_add(Bytes::new(1)).expect("a page has more than one byte")
}

impl<K: Kernel> Layer for SpoiledKernel<K> {
    type Below = K;

    fn below(&self) -> &K {
        &self.kernel
    }

    fn below_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    fn map(&mut self, container: ContainerFd, call: MapCall) -> Raw {
        let call = match self.saboteur.next() {
            Some(Spoil::Memory(address)) => MapCall { address, ..call },
            Some(Spoil::Misaligned) => MapCall { iova: misaligned(call.iova), ..call },
            None => call,
        };
        self.kernel.map(container, call)
    }

    fn unmap(&mut self, container: ContainerFd, call: UnmapCall) -> Raw {
        let call = match self.saboteur.next() {
            Some(Spoil::Misaligned) => UnmapCall { iova: misaligned(call.iova), ..call },
            Some(Spoil::Memory(_)) | None => call,
        };
        self.kernel.unmap(container, call)
    }
}
