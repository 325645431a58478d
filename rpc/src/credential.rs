//! The credential of a node's interface: 32 random bytes, shared between the node and the clients on
//! its host through a file that only their user can read.

use crate::RpcError;
use http::{HeaderMap, HeaderValue, header};
use std::{
    fmt, fs,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    str::FromStr,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a credential.
const LEN: usize = 32;
/// A credential's file is read up to here: twice its length in hexadecimal leaves room for white space.
const MAX_FILE: u64 = 4 * LEN as u64;

/// A bearer token. Wiped from memory when dropped; never printed, not even by `Debug`.
#[derive(Clone)]
pub struct Credential(Zeroizing<[u8; LEN]>);

impl Credential {
    /// A credential of bytes that the caller drew from a secure random generator.
    pub fn generate(random: [u8; LEN]) -> Credential {
        Credential(Zeroizing::new(random))
    }

    /// Reads a credential.
    ///
    /// # Errors
    /// The file cannot be read, can be read by other users, or holds something else.
    pub fn from_file(path: &Path) -> Result<Credential, RpcError> {
        let fault = |why: String| RpcError::Credential { path: path.to_owned(), why };
        let file = fs::File::open(path).map_err(|e| fault(e.to_string()))?;
        let mode = file.metadata().map_err(|e| fault(e.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(fault(format!("other users can read it (mode {:03o}): chmod 600 it", mode & 0o777)));
        }
        let mut text = Zeroizing::new(String::with_capacity(2 * LEN + 1));
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|e| fault(e.to_string()))?;
        text.trim().parse().map_err(|NotACredential| fault(NotACredential.to_string()))
    }

    /// Writes the credential to a file of mode 0600, replacing what was there in one step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn to_file(&self, path: &Path) -> Result<(), RpcError> {
        let written = || -> std::io::Result<()> {
            let mut name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
            name.push(".new");
            let fresh = path.with_file_name(name);
            match fs::remove_file(&fresh) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(self.hex().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        };
        written().map_err(|e| RpcError::Credential { path: path.to_owned(), why: e.to_string() })
    }

    /// Whether a request carries this credential, in a time that does not tell how much of it is right.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = given.and_then(|text| text.split_once(' ')) else { return false };
        let Ok(given) = token.trim().parse::<Credential>() else { return false };
        scheme.eq_ignore_ascii_case("bearer") && bool::from(self.0.as_slice().ct_eq(given.0.as_slice()))
    }

    /// The value of the `Authorization` header, marked so that no log shows it.
    pub(crate) fn header(&self) -> Result<HeaderValue, RpcError> {
        let text = Zeroizing::new(format!("Bearer {}", self.hex().as_str()));
        let mut value = HeaderValue::from_str(&text).map_err(|e| RpcError::Protocol(e.to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// The text is not a credential. Does not say which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a credential: 64 hexadecimal digits are expected")]
pub struct NotACredential;

impl FromStr for Credential {
    type Err = NotACredential;
    fn from_str(text: &str) -> Result<Credential, NotACredential> {
        let mut bytes = Zeroizing::new([0; LEN]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).map_err(|_| NotACredential)?;
        Ok(Credential(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a header"))])
    }

    #[test]
    fn admits_only_itself() {
        let own = Credential::generate([7; LEN]);
        let token = "07".repeat(LEN);
        assert!(own.admits(&headers(&format!("Bearer {token}"))));
        assert!(own.admits(&headers(&format!("bearer {token}"))));
        for bad in [format!("Basic {token}"), token.clone(), format!("Bearer {}", &token[2..]), "Bearer ".into()] {
            assert!(!own.admits(&headers(&bad)), "{bad}");
        }
        assert!(!own.admits(&headers(&format!("Bearer {}", "08".repeat(LEN)))));
        assert!(!own.admits(&HeaderMap::new()));
    }

    #[test]
    fn is_never_shown() {
        let own = Credential::generate([7; LEN]);
        assert_eq!(format!("{own:?}"), "Credential(hidden)");
        assert!(!format!("{:?}", own.header().expect("a header")).contains("07"));
    }

    #[test]
    fn a_file_keeps_it_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credential");
        fs::write(&path, "something older").expect("written");
        Credential::generate([7; LEN]).to_file(&path).expect("written");
        Credential::generate([9; LEN]).to_file(&path).expect("written again");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let read = Credential::from_file(&path).expect("read");
        assert_eq!(read.0.as_slice(), [9; LEN]);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_garbage_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credential");
        assert!(Credential::from_file(&path).is_err(), "absent");
        Credential::generate([7; LEN]).to_file(&path).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let refused = Credential::from_file(&path).expect_err("others can read it").to_string();
        assert!(refused.contains("640"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&path, "secret").expect("written");
        let refused = Credential::from_file(&path).expect_err("garbage").to_string();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
