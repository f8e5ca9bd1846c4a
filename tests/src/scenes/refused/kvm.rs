//! KVM's part: what the same wishes come to when they are raw calls.

use anyhow::{Context, Result, ensure};
use tce_engine::{
    addr::{Bytes, GuestAddress, Iova, PageShift},
    errno::Errno,
    kernel::{
        CreateCall, Fd, GuestTableCall, GuestTableFd, Kernel, KvmVfioFd, MAP_READ, MAP_WRITE,
        MapCall, Raw, UnmapCall, VmFd,
    },
    machine::{HypercallRegisters, Machine},
    papr::ReturnCode,
};

use super::{
    super::bare::{Bare, READ_WRITE, done, failed},
    Rule,
};

const LIOBN: u64 = 0x8000_0004;
const OTHER_LIOBN: u64 = LIOBN + 1;
const PAGE: u64 = 1 << 12;
const MIB: u64 = 1 << 20;
/// What a lease has, where nothing else is said.
const SIZE: u64 = 1 << 16;
/// The second window: no kernel rounds it up.
const HIGH_SIZE: u64 = 1 << 30;
/// Where guests' tables and maps of this process are, at most.
const USED: Bytes = Bytes::mib(4);
/// Two places in the guest's memory.
const HERE: u64 = 5 * PAGE;
const THERE: u64 = 9 * PAGE;

const EINVAL: Raw = Raw::Failed(Errno::EINVAL);
const EBUSY: Errno = Errno::EBUSY;

/// A guest, and a group that its virtual machine's link knows, with the default window and one of 64 KiB pages.
pub(super) struct Guest<'m, M: Machine> {
    bare: Bare<'m, M>,
    vm: VmFd,
    link: KvmVfioFd,
    /// Where the second window starts.
    high: u64,
}

/// A guest's table, in bytes.
#[derive(Clone, Copy)]
struct Table {
    liobn: u64,
    page: PageShift,
    start: u64,
    size: u64,
}

impl Table {
    /// The first pages of the default window.
    const LOW: Self = Self { liobn: LIOBN, page: PageShift::K4, start: 0, size: SIZE };

    fn call(self) -> GuestTableCall {
        let Self { liobn, page, start, size } = self;
        let page_shift = u32::from(page.raw());
        GuestTableCall { liobn, page_shift, offset: start >> page_shift, size: size >> page_shift }
    }
}

impl<'m, M: Machine> Guest<'m, M> {
    pub(super) fn new(machine: &'m mut M) -> Result<Self> {
        let mut bare = Bare::new(machine)?;
        let vm = bare.kernel.create_vm().map_err(failed("KVM_CREATE_VM; is kvm_hv loaded?"))?;
        let link = bare.kernel.create_kvm_vfio(vm).map_err(failed("the link"))?;
        done("GROUP_ADD", bare.kernel.add_group(link, bare.group))?;
        bare.machine.set_guest_memory(vm, GuestAddress::new(0), bare.memory)?;
        let page_shift = u32::from(PageShift::K64.raw());
        let call = CreateCall { page_shift, size: Bytes::new(HIGH_SIZE), levels: 1 };
        let created = bare.kernel.create(bare.container, call);
        done("CREATE", created.raw)?;
        Ok(Self { bare, vm, link, high: created.out.raw() })
    }

    /// What the rule keeps from KVM, KVM refuses without a reason, or takes to somebody's harm.
    pub(super) fn shows_why(&mut self, rule: Rule) -> Result<()> {
        let low = Table::LOW;
        match rule {
            Rule::Linked => self.is_refused_without_its_group(),
            Rule::OneLink => {
                let second = self.bare.kernel.create_kvm_vfio(self.vm);
                ensure!(second == Err(EBUSY), "a second link: {second:?}");
                Ok(())
            }
            Rule::FromTheStart => self.is_refused(Table { start: PAGE, ..low }),
            Rule::NoSmallerPage => self.is_refused(Table { start: self.high, ..low }),
            Rule::WithinTheWindow => {
                let (start, size, page) = (self.high, 2 * HIGH_SIZE, PageShift::K64);
                self.is_refused(Table { start, size, page, ..low })
            }
            Rule::WholePages => self.sets_beyond_the_lease(),
            // KVM asks nobody what there is, known or not.
            Rule::NothingMapped | Rule::NothingUnknown => self.replaces_what_is_mapped(),
            // Nor what anybody may do: a mapping is a holder's of some of the range, or a sub-lease's.
            Rule::AllAccess | Rule::AllTces | Rule::Undivided => self.sets_all_there_is(),
            Rule::OneGuest => self.two_guests_have_one_window(),
            Rule::OwnNumber => self.with_table(low, |guest, _| {
                let again = guest.bare.kernel.create_guest_table(guest.vm, low.call());
                ensure!(again == Err(EBUSY), "a second table of a number: {again:?}");
                Ok(())
            }),
            Rule::OneWindow => self.has_the_one_window_only(),
            Rule::Live => self.is_refused_after_the_end(),
        }
    }

    /// `ENOENT` says that the link knows no such group.
    fn is_refused_without_its_group(&mut self) -> Result<()> {
        let Bare { kernel, group, .. } = &mut self.bare;
        let vm = kernel.create_vm().map_err(failed("another virtual machine"))?;
        let link = kernel.create_kvm_vfio(vm).map_err(failed("its link"))?;
        let table = kernel.create_guest_table(vm, Table::LOW.call()).map_err(failed("a table"))?;
        let raw = kernel.attach_guest_table(link, *group, table);
        for fd in [table.fd(), link.fd(), vm.fd()] {
            kernel.close(fd).map_err(failed("closing"))?;
        }
        ensure!(raw == Raw::Failed(Errno::ENOENT), "without a group: {raw:?}");
        Ok(())
    }

    /// The range of 3 MiB is rounded up: the guest reaches the MiB behind it, which is somebody else's.
    fn sets_beyond_the_lease(&mut self) -> Result<()> {
        let table = Table { page: PageShift::M2, size: 4 * MIB, ..Table::LOW };
        self.with_table(table, |guest, raw| {
            done("SET_SPAPR_TCE", raw)?;
            guest.puts(LIOBN, 2 * MIB, 0)?;
            guest.bare.moves(3 * MIB, MIB, true).context("behind the lease")
        })
    }

    /// A holder's mapping is the guest's from one instant to the other, and nobody is told.
    fn replaces_what_is_mapped(&mut self) -> Result<()> {
        let (address, size) = (self.bare.at(HERE)?, Bytes::new(PAGE));
        let map = MapCall { flags: MAP_READ | MAP_WRITE, address, iova: Iova::new(0), size };
        done("MAP", self.bare.kernel.map(self.bare.container, map))?;
        self.bare.moves(0, HERE, true).context("what was mapped before")?;
        self.with_table(Table::LOW, |guest, raw| {
            done("SET_SPAPR_TCE", raw)?;
            guest.puts(LIOBN, 0, THERE)?;
            guest.bare.moves(0, HERE, false).context("what was mapped before")?;
            guest.bare.moves(0, THERE, true).context("what the guest has set")
        })
    }

    /// Each TCE of the range, and devices write there.
    fn sets_all_there_is(&mut self) -> Result<()> {
        self.with_table(Table::LOW, |guest, raw| {
            done("SET_SPAPR_TCE", raw)?;
            for iova in (0..SIZE).step_by(1 << 12) {
                guest.puts(LIOBN, iova, iova)?;
            }
            guest.bare.moves(0, 0, true).context("the first page")?;
            guest.bare.moves(SIZE - PAGE, SIZE - PAGE, true).context("the last page")
        })
    }

    /// Two tables have the same window: one goes on believing what the other has replaced.
    fn two_guests_have_one_window(&mut self) -> Result<()> {
        self.with_table(Table::LOW, |guest, raw| {
            done("SET_SPAPR_TCE", raw)?;
            guest.puts(LIOBN, 0, HERE)?;
            guest.with_table(Table { liobn: OTHER_LIOBN, ..Table::LOW }, |guest, raw| {
                done("SET_SPAPR_TCE of another table", raw)?;
                guest.puts(OTHER_LIOBN, 0, THERE)?;
                let get = HypercallRegisters::get_tce(LIOBN, 0);
                guest.bare.answers(guest.vm, get, Some(HERE | READ_WRITE))?;
                guest.bare.moves(0, HERE, false).context("what the first guest has set")
            })
        })
    }

    /// An address of the other window is none of the table's.
    fn has_the_one_window_only(&mut self) -> Result<()> {
        let put = HypercallRegisters::put_tce(LIOBN, self.high, HERE | READ_WRITE);
        self.with_table(Table::LOW, |guest, raw| {
            done("SET_SPAPR_TCE", raw)?;
            let exit = guest.bare.machine.hypercall(guest.vm, put)?;
            let parameter = Some(ReturnCode::Parameter.register());
            ensure!(exit.code() == parameter, "an address of the other window: {exit:x?}");
            Ok(())
        })
    }

    /// The window is gone, so that none fits any more.
    fn is_refused_after_the_end(&mut self) -> Result<()> {
        let table = Table { start: self.high, page: PageShift::K64, ..Table::LOW };
        self.with_table(table, |_, raw| done("SET_SPAPR_TCE", raw))?;
        done("REMOVE", self.bare.kernel.remove(self.bare.container, Iova::new(self.high)))?;
        self.is_refused(table)
    }

    /// `EINVAL` says that no window of the group fits.
    fn is_refused(&mut self, table: Table) -> Result<()> {
        self.with_table(table, |_, raw| {
            ensure!(raw == EINVAL, "SET_SPAPR_TCE: {raw:?}");
            Ok(())
        })
    }

    /// Makes a table and gives it to KVM for the group; what that came to is for `act`. Then the table is closed, which
    /// ends KVM's hold, and nothing is mapped.
    fn with_table(
        &mut self,
        table: Table,
        act: impl FnOnce(&mut Self, Raw) -> Result<()>,
    ) -> Result<()> {
        let Bare { kernel, group, .. } = &mut self.bare;
        let made = kernel.create_guest_table(self.vm, table.call());
        let fd: GuestTableFd = made.map_err(failed("KVM_CREATE_SPAPR_TCE_64"))?;
        let raw = kernel.attach_guest_table(self.link, *group, fd);
        let acted = act(self, raw);
        self.bare.kernel.close(fd.fd()).map_err(failed("closing the table"))?;
        let unmap = UnmapCall { iova: Iova::new(0), size: USED };
        done("UNMAP", self.bare.kernel.unmap(self.bare.container, unmap))?;
        acted
    }

    /// The guest sets a TCE, and the kernel takes it.
    fn puts(&mut self, liobn: u64, iova: u64, guest: u64) -> Result<()> {
        let put = HypercallRegisters::put_tce(liobn, iova, guest | READ_WRITE);
        self.bare.answers(self.vm, put, None)
    }

    pub(super) fn close(mut self) -> Result<()> {
        done("GROUP_DEL", self.bare.kernel.delete_group(self.link, self.bare.group))?;
        let more: [Fd; 2] = [self.link.fd(), self.vm.fd()];
        self.bare.close(&more)
    }
}
