//! Runs the example: `tce-example-vmm`, or `tce-example-vmm --backend vfio` on POWER.

#![forbid(unsafe_code)]

use std::{cell::RefCell, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tce_conformance::edu::EDU_ID;
use tce_engine::machine::Machine;
use tce_example_vmm::vmm::{self, Passed, Way};
use tce_host::{
    decide::Policies,
    policy::{Compiler, Limits, LoadedPolicy, Runtime},
};
use tce_sim::{Profile, SimMachine};
use tce_vfio::VfioMachine;

/// Gives a guest a device with DMA, takes it back, and says each step.
#[derive(Parser)]
struct Options {
    /// vfio, or sim:PROFILE
    #[arg(long, default_value = "sim:powernv9")]
    backend: String,
    /// Who answers the guest's hypercalls
    #[arg(long, value_enum, default_value = "kvm")]
    hypercalls: Hypercalls,
    /// A policy component that decides the window; without one, the built-in policy does
    #[arg(long)]
    policy: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hypercalls {
    /// The kernel
    Kvm,
    /// This program
    FrontEnd,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let policies = match &options.policy {
        Some(path) => {
            let runtime = Runtime::new(Compiler::default())?;
            vec![LoadedPolicy::from_file(&runtime, path, Limits::default())?]
        }
        None => Vec::new(),
    };
    let policies = Policies::new(policies)?;
    match options.backend.strip_prefix("sim:").and_then(Profile::named) {
        Some(profile) => show(SimMachine::new(profile), &policies, options.hypercalls),
        None if options.backend == "vfio" => {
            show(VfioMachine::open()?, &policies, options.hypercalls)
        }
        None => {
            anyhow::bail!("there is no backend {:?}: say vfio, or sim:powernv9", options.backend)
        }
    }
}

fn show<M: Machine>(machine: M, policies: &Policies, hypercalls: Hypercalls) -> Result<()> {
    let device = edu_of(&machine).context("there is no edu device that VFIO can have")?;
    let way = match hypercalls {
        Hypercalls::Kvm => Way::Kvm,
        Hypercalls::FrontEnd => Way::FrontEnd,
    };
    let say = |what: &str, how: String| println!("{what:8}  {how}");
    vmm::run(&RefCell::new(machine), &device, policies, way, say).map(|_| ())
}

fn edu_of<M: Machine>(machine: &M) -> Option<Passed> {
    machine.groups().into_iter().find_map(|group| {
        let devices = machine.devices_of(group);
        if devices.iter().any(|device| device.blocks_group) {
            return None;
        }
        let edu = devices.into_iter().find(|device| device.id == EDU_ID)?;
        Some(Passed { group, address: edu.address })
    })
}
