//! What can be wrong with a value of this crate.

/// Why a value was refused. The text says what is wrong, where, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// A name that breaks the rules of [`crate::Label`].
    #[error(
        "{what} {value:?} is not a valid name: use 1 to 63 characters of a-z, 0-9, '-', '.' and '_', beginning with a letter or digit"
    )]
    Name {
        /// Which field.
        what: &'static str,
        /// The value, cut to 80 characters.
        value: String,
    },
    /// Bytes that are not the one encoding of a value.
    #[error("cannot decode {what}: {why}")]
    Decode {
        /// What was expected.
        what: &'static str,
        /// The reason.
        why: String,
    },
    /// More than a bound allows.
    #[error("{what} is {got} bytes, at most {max} are allowed")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// A signature that does not verify.
    #[error("the signature of {0} does not verify")]
    Signature(&'static str),
    /// A certificate chain that is not one of this mesh, or not for this use.
    #[error("certificate refused: {0}")]
    Certificate(&'static str),
    /// A join token that is malformed, expired or for another mesh.
    #[error("token refused: {0}")]
    Token(&'static str),
}
