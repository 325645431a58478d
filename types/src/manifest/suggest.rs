//! Did you mean ...?

/// The one of `known` that `given` is most likely a misspelling of.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long texts are no misspellings of short names, and would only cost time.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_lowercase().replace('_', "-");
    let distance = |name: &str| strsim::osa_distance(&given, &name.replace('_', "-"));
    let ranked = known.map(|name| (distance(name), name));
    let bound = |name: &str| (name.chars().count() / 3).max(1);
    ranked.filter(|(distance, name)| *distance <= bound(name)).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_near_and_another_word_is_not() {
        let known = ["replicas", "restart", "resources", "env", "max_surge"];
        let near = |given| nearest(given, known.iter().copied());
        assert_eq!(near("replcas"), Some("replicas"));
        assert_eq!(near("Replica"), Some("replicas"));
        assert_eq!(near("max-surge"), Some("max_surge"));
        assert_eq!(near("envs"), Some("env"));
        assert_eq!(near("cpu"), None);
        assert_eq!(near("colour"), None);
        assert_eq!(near(&"r".repeat(10_000)), None);
    }
}
