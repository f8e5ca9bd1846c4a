//! What a worker and whoever started it say to each other: frames of a length and JSON.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::policy::{
    engine::Compiler,
    evaluator::Broken,
    interface::Export,
    limits::{CODE_BYTES_MAX, FILE_BYTES_MAX, Limits},
    load::{LoadError, Outline},
    question::{Function, Question},
    wit::Setting,
};

/// The bytes of a question or an evaluation. An answer of all the bytes that it may have takes a few times as many.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// The length that a frame starts with, little-endian.
const LENGTH_BYTES: usize = 8;

/// The bytes that there is room for before any have come. An ordinary message has fewer.
const ROOM: usize = 16 << 10;

/// The first thing that a worker is told. A component, or its code, follows in a frame of its own, as it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one for each process")]
pub(super) enum Task<'a> {
    /// Compiling a component, which comes in the frame. The reply is a [`Compiled`], with the code in a frame behind it.
    Compile(Compiler),
    /// Answering as a policy, whose code comes in the frame. The reply is a [`Loaded`]; then come requests.
    Serve(Given<'a, Load>),
}

/// What is known of a policy beside its code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) outline: Outline,
    pub(super) compiler: Compiler,
    pub(super) limits: Limits,
}

/// Whether a component was compiled.
pub(super) type Compiled = Result<(), Unloadable>;

/// Whether code was taken: what the policy answers.
pub(super) type Loaded = Result<Vec<Function>, Unloadable>;

/// Everything else that a worker is told, with the type of the reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, and nearly always the large one")]
pub(super) enum Request<'a> {
    /// An [`Evaluation`](crate::policy::Evaluation).
    Evaluate(Given<'a, Question>),
    /// A `Result<Option<Vec<SettingDescription>>, Broken>`.
    DescribeSettings,
    /// A `Result<Vec<SettingProblem>, Broken>`.
    ValidateSettings(Given<'a, [Setting]>),
}

/// What is sent from where it stands, and owned where it arrives.
pub(super) type Given<'a, T> = std::borrow::Cow<'a, T>;

/// Why a worker does not load a component: what [`LoadError`] says of it, as far as it can be found there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unloadable {
    Compile { what: String },
    Demands { what: String },
    Imports { names: Vec<String> },
    OtherType { interface: String, what: String },
    DoesNotStart(Broken),
    NoSandbox { what: String },
    Other { what: String },
}

impl From<LoadError> for Unloadable {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Compile { what } => Self::Compile { what },
            LoadError::Demands { what } => Self::Demands { what },
            LoadError::Imports { names } => Self::Imports { names },
            LoadError::OtherType { interface, what } => {
                Self::OtherType { interface: interface.to_string(), what }
            }
            LoadError::DoesNotStart(broken) => Self::DoesNotStart(broken),
            LoadError::NoSandbox { what } => Self::NoSandbox { what },
            other => Self::Other { what: format!("does not load it: {other}") },
        }
    }
}

impl From<Unloadable> for LoadError {
    fn from(unloadable: Unloadable) -> Self {
        match unloadable {
            Unloadable::Compile { what } => Self::Compile { what },
            Unloadable::Demands { what } => Self::Demands { what },
            Unloadable::Imports { names } => Self::Imports { names },
            Unloadable::OtherType { interface, what } => match Export::named(&interface) {
                Some(interface) => Self::OtherType { interface, what },
                None => Self::Worker { what: format!("knows an interface {interface:?}") },
            },
            Unloadable::DoesNotStart(broken) => Self::DoesNotStart(broken),
            Unloadable::NoSandbox { what } => Self::NoSandbox { what },
            Unloadable::Other { what } => Self::Worker { what },
        }
    }
}

/// Sends a message, in one piece: who waits for it wakes up once.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let (length, text) = frame.split_at_mut(LENGTH_BYTES);
    length.copy_from_slice(&length_of(text, MESSAGE_BYTES_MAX)?);
    to.write_all(&frame)
}

/// Sends a component, which is not larger than a file may be, or code.
pub(super) fn send_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&length_of(bytes, CODE_BYTES_MAX)?)?;
    to.write_all(bytes)
}

/// Receives a message.
pub(super) fn receive<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    Ok(serde_json::from_slice(&receive_frame(from, MESSAGE_BYTES_MAX)?)?)
}

/// Receives a component.
pub(super) fn receive_component(from: &mut impl Read) -> io::Result<Vec<u8>> {
    receive_frame(from, FILE_BYTES_MAX)
}

/// Receives code.
pub(super) fn receive_code(from: &mut impl Read) -> io::Result<Vec<u8>> {
    receive_frame(from, CODE_BYTES_MAX)
}

/// How a frame starts.
fn length_of(bytes: &[u8], max: u64) -> io::Result<[u8; LENGTH_BYTES]> {
    let length = u64::try_from(bytes.len()).map_err(io::Error::other)?;
    if length > max { Err(too_long(length, max)) } else { Ok(length.to_le_bytes()) }
}

/// Memory grows with what has arrived, whatever the length claims.
fn receive_frame(from: &mut impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > max {
        return Err(too_long(length, max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_or(ROOM, |it| it.min(ROOM)));
    from.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|got| got == length) {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn too_long(length: u64, max: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a message of {length} bytes, and {max} is the limit"),
    )
}

#[cfg(test)]
mod tests {
    use super::{MESSAGE_BYTES_MAX, receive, send};

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let mut wire = Vec::new();
        send(&mut wire, &("one", 2)).unwrap();
        send(&mut wire, &("three", 4)).unwrap();
        let mut wire = wire.as_slice();
        assert_eq!(receive::<(String, u32)>(&mut wire).unwrap(), ("one".to_owned(), 2));
        assert_eq!(receive::<(String, u32)>(&mut wire).unwrap(), ("three".to_owned(), 4));
        assert!(receive::<(String, u32)>(&mut wire).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_or_beyond_what_comes_is_an_error() {
        let too_long = (MESSAGE_BYTES_MAX + 1).to_le_bytes();
        let error = receive::<u32>(&mut too_long.as_slice()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let mut cut = 9_u64.to_le_bytes().to_vec();
        cut.extend(*b"12345678");
        let error = receive::<u32>(&mut cut.as_slice()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
