//! The example on simulated machines: with and without KVM.

use std::cell::RefCell;

use tce_engine::{addr::Bytes, machine::Machine};
use tce_example_vmm::vmm::{Passed, Seen, Way, run};
use tce_host::decide::Policies;
use tce_sim::{Profile, SimMachine};

fn play(profile: &str, way: Way) -> anyhow::Result<Seen> {
    let machine = SimMachine::new(Profile::named(profile).expect("it is a known name"));
    let group = machine.groups()[0];
    let address = machine.devices_of(group)[0].address.clone();
    let policies = Policies::new(Vec::new()).expect("no components");
    let device = Passed { group, address };
    let seen = run(&RefCell::new(machine.clone()), &device, &policies, way, |_, _| {})?;
    assert!(machine.left_behind().is_nothing(), "{:?}", machine.left_behind());
    assert_eq!(machine.host_corruption(), None);
    assert_eq!(machine.host_warnings(), []);
    Ok(seen)
}

#[test]
fn a_guest_sets_its_tces_without_an_exit_through_kvm() {
    for profile in ["powernv9", "powernv9-64k", "powernv10"] {
        // The one exit is after the revocation.
        let seen = play(profile, Way::Kvm).expect("it works");
        assert_eq!(seen, Seen { exits: 1, left: Bytes::ZERO }, "{profile}");
    }
}

#[test]
fn a_guest_sets_its_tces_through_the_front_end_where_there_is_no_kvm() {
    for profile in ["powernv9", "pseries", "pseries-64k"] {
        let seen = play(profile, Way::FrontEnd).expect("it works");
        assert_eq!(seen, Seen { exits: 3, left: Bytes::ZERO }, "{profile}");
    }
    let error = play("pseries", Way::Kvm).expect_err("there is no KVM");
    assert!(error.to_string().contains("KVM"), "{error:#}");
}
