//! The machine that a command works on.

use std::str::FromStr;

use tce_sim::Profile;

use crate::exit::{Exit, Failure};

/// A machine, by the name that the command line has for it.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    /// `vfio`: this machine.
    Vfio,
    /// `sim` or `sim:PROFILE`.
    Simulated(Box<Profile>),
}

impl FromStr for Backend {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        let profile = match name {
            "vfio" => return Ok(Self::Vfio),
            "sim" => Some(Profile::powernv9()),
            _ => name.strip_prefix("sim:").and_then(Profile::named),
        };
        let profile = profile.ok_or_else(|| {
            let names = Profile::NAMES.join(", ");
            Failure::new(Exit::Usage, format!("there is no backend {name:?}"))
                .with(format!("say vfio, or sim: and one of {names}"))
        })?;
        Ok(Self::Simulated(Box::new(profile)))
    }
}
