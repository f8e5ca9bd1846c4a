//! The scenes on the simulated machines.

use anyhow::Context as _;
use tce_engine::{kernel::GroupNumber, machine::Machine as _};
use tce_sim::{Profile, SimMachine, profile::DeviceProfile};
use tce_tests::{scenes, stage::Stage};

const PROFILES: [&str; 5] = ["powernv9", "powernv9-64k", "powernv10", "pseries", "pseries-64k"];

/// A second device, in a group of its own, for machines that have one.
const SECOND_GROUP: GroupNumber = GroupNumber(1);
const SECOND_DEVICE: &str = "0001:00:00.0";

fn machines() -> impl Iterator<Item = (&'static str, SimMachine)> {
    PROFILES.into_iter().map(|name| {
        let profile = Profile::named(name).expect("a known profile");
        let machine = SimMachine::new(profile.clone());
        let has_one_group = machine.groups().len() == 1;
        let second = || profile.with_device(SECOND_GROUP, DeviceProfile::edu(SECOND_DEVICE));
        (name, if has_one_group { SimMachine::new(second()) } else { machine })
    })
}

/// Plays a scene on every machine, which must be as it was afterwards.
fn play(scene: impl Fn(&mut SimMachine) -> anyhow::Result<()>) {
    for (name, mut machine) in machines() {
        scene(&mut machine).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(machine.host_corruption(), None, "{name}");
        let left = machine.left_behind();
        assert!(left.is_nothing(), "{name}: {left:?}");
    }
}

#[test]
fn bytes_travel_exactly_where_they_are_mapped() {
    play(|machine| {
        let shapes = scenes::shapes(machine)?;
        assert!(shapes.len() >= 3, "{shapes:?}");
        shapes.into_iter().try_for_each(|shape| {
            scenes::bytes_travel_exactly_where_they_are_mapped(machine, shape)
        })
    });
}

#[test]
fn a_lease_does_not_outlive_the_last_group() {
    play(scenes::a_lease_does_not_outlive_the_last_group);
}

#[test]
fn a_container_without_groups_has_no_backend() {
    play(scenes::a_container_without_groups_has_no_backend);
}

#[test]
fn a_descriptor_of_another_kind_is_refused() {
    play(scenes::a_descriptor_of_another_kind_is_refused);
}

#[test]
fn a_group_leaves_and_nothing_is_lost() {
    play(scenes::a_group_leaves_and_nothing_is_lost);
}

#[test]
fn every_loan_that_is_refused_has_its_reason() {
    play(scenes::every_loan_that_is_refused_has_its_reason);
}

#[test]
fn every_group_that_is_refused_has_its_reason() {
    play(scenes::every_group_that_is_refused_has_its_reason);
}

#[test]
fn a_guest_sets_tces_without_its_process() {
    play(scenes::a_guest_sets_tces_without_its_process);
}

#[test]
fn a_device_is_quiet_when_its_interrupts_are_off() {
    play(scenes::a_device_is_quiet_when_its_interrupts_are_off);
}

#[test]
fn every_story_comes_out_on_a_fresh_stage() {
    for (name, story) in scenes::stories() {
        play(|machine| {
            let mut stage = Stage::new(machine)?;
            story(&mut stage).context(name)?;
            stage.close()
        });
    }
}

#[test]
fn the_stories_come_out_one_after_the_other_on_one_stage() {
    play(|machine| {
        let mut stage = Stage::new(machine)?;
        for (name, story) in scenes::stories() {
            story(&mut stage).context(name)?;
            stage.clear().with_context(|| format!("after: {name}"))?;
        }
        stage.close()
    });
}
