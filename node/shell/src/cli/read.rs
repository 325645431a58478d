//! How what is typed is read, where the words of a library would not help.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use holm_types::{cert::Role, manifest::Bytes};
use std::time::Duration;

const ROLES: [&str; 4] = ["edge", "keeper", "issuer", "deployer"];

/// A time such as `30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time as 30s, 10m, 12h or 90days".to_owned())
}

/// An amount such as `64Mi`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let read: Result<Bytes, _> = serde_json::from_value(text.into());
    match read {
        Ok(Bytes(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err("write an amount as 64Mi, 1Gi or 500M".to_owned()),
    }
}

/// A role; one that is mistyped is answered with what was meant.
pub fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(ROLES).try_map(|name| name.parse::<Role>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_can_be_typed() {
        assert!(ROLES.iter().all(|name| name.parse::<Role>().is_ok_and(|role| role.to_string() == *name)));
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!(bytes("256Mi"), Ok(256 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        assert!(bytes("0").is_err());
        assert!(bytes("much").unwrap_err().contains("64Mi"));
    }

    #[test]
    fn what_is_no_time_is_answered_with_how_one_is_written() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert!(duration("banana").unwrap_err().contains("30s, 10m"));
    }
}
