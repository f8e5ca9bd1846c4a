//! From the core module that a compiler makes to the component that a host loads.

use thiserror::Error;
use wit_component::ComponentEncoder;

/// Why there is no component.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// It is one already.
    #[error("it is a component already")]
    Already,
    /// No WebAssembly, or nothing in it that says which world it is for.
    #[error("no component can be made of it: {what}")]
    NotEncodable {
        /// What stands against it.
        what: String,
    },
}

/// The first bytes of a component: the magic number, the version, the layer.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// Wraps a core module, in which the bindings have left a description of their world, into a component.
///
/// # Errors
/// [`ComponentError`].
pub fn encode(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    if module.starts_with(&COMPONENT) {
        return Err(ComponentError::Already);
    }
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| ComponentError::NotEncodable { what: format!("{error:#}") })
}

#[cfg(test)]
mod tests {
    use super::{COMPONENT, ComponentError, encode};

    #[test]
    fn what_is_a_component_already_is_told_so() {
        assert!(matches!(encode(&COMPONENT), Err(ComponentError::Already)));
    }

    #[test]
    fn what_is_no_module_is_told_so() {
        assert!(matches!(encode(b"hello"), Err(ComponentError::NotEncodable { .. })));
    }
}
