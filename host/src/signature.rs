//! Signatures of policy files: an operator lists the keys that are trusted, and nothing else is even parsed.
//!
//! A signature is minisign's, in a file beside the policy: `FILE.wasm.minisig`. Keys and signatures are made with
//! minisign itself; here they are only verified.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use minisign_verify::{PublicKey, Signature};
use thiserror::Error;

/// The longest signature file and the longest key file that are read. They have some 300 bytes.
pub const SIGNATURE_BYTES_MAX: u64 = 8 << 10;

/// The most keys that can be trusted.
pub const KEYS_MAX: usize = 64;

/// The keys of those whose policies are trusted. Without a key, nothing is required.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(Vec<(String, PublicKey)>);

/// Why a text is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key file cannot be read.
    #[error("the key file {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is no minisign public key.
    #[error("{key} is no public key of minisign")]
    NoKey {
        /// What was given.
        key: String,
    },
    /// There are too many.
    #[error("no more than {KEYS_MAX} keys can be trusted")]
    TooMany,
}

/// Why a file's signature does not do.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("it is not signed: there is no {file}")]
    Missing {
        /// The file that would be the signature.
        file: String,
    },
    /// The signature cannot be read.
    #[error("its signature {file} cannot be read: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The signature is none of minisign's, or has lost something.
    #[error("its signature {file} is damaged")]
    Damaged {
        /// The file.
        file: String,
    },
    /// It was made with a key that is not trusted.
    #[error("its signature is of none of the trusted keys")]
    OtherKey,
    /// It was made with a trusted key, for another file.
    #[error("its signature, of the key {key}, is not for this file: one of the two was changed")]
    OtherFile {
        /// The key as it was given.
        key: String,
    },
}

impl TrustedKeys {
    /// These keys: each the text of a public key, or the file that minisign wrote it to.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(keys: &[String]) -> Result<Self, KeyError> {
        if keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        keys.iter()
            .map(|key| Ok((key.clone(), public_key(key)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether no signature is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the signature beside a file whose content this is. Tells the key that signed it; `None` if no signature
    /// is required.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn check(&self, file: &Path, content: &[u8]) -> Result<Option<&str>, SignatureError> {
        if self.is_empty() {
            return Ok(None);
        }
        let beside = beside(file);
        let shown = || beside.display().to_string();
        let text = read(&beside).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SignatureError::Missing { file: shown() },
            _ => SignatureError::Unreadable { file: shown(), error },
        })?;
        let damaged = |_| SignatureError::Damaged { file: shown() };
        let signature = Signature::decode(&text).map_err(damaged)?;
        let mut other_file = None;
        for (name, key) in &self.0 {
            match key.verify(content, &signature, false) {
                Ok(()) => return Ok(Some(name)),
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(_) => other_file = Some(name),
            }
        }
        Err(match other_file {
            Some(key) => SignatureError::OtherFile { key: key.clone() },
            None => SignatureError::OtherKey,
        })
    }
}

/// A key as somebody in this folder names it: the text of a public key, or a file.
pub(crate) fn key_in(folder: &Path, key: &str) -> String {
    match PublicKey::from_base64(key) {
        Ok(_) => key.to_owned(),
        Err(_) => folder.join(key).display().to_string(),
    }
}

/// `FILE.wasm.minisig`.
fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".minisig");
    PathBuf::from(name)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SIGNATURE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn public_key(key: &str) -> Result<PublicKey, KeyError> {
    if let Ok(key) = PublicKey::from_base64(key) {
        return Ok(key);
    }
    let text = read(Path::new(key)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::NoKey { key: key.to_owned() },
        _ => KeyError::Unreadable { path: key.to_owned(), error },
    })?;
    PublicKey::decode(&text).map_err(|_| KeyError::NoKey { key: key.to_owned() })
}
