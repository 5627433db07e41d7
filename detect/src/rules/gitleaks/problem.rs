//! What can be wrong with a gitleaks file, and what of a right one means nothing here.

/// The file cannot be used: gitleaks would refuse it too, or it asks for more than is granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("the regex cannot be used: {0}")]
    BadRegex(String),
    #[error("the regex needs too much memory ({limit} KiB are granted): lower the bounds of its repeats")]
    TooLarge { limit: usize },
    #[error(
        "`secretGroup` is {group}, but the regex has {groups} groups: number the group that holds the secret"
    )]
    NoSuchGroup { group: usize, groups: usize },
    #[error("`{0}` is no condition: use `OR` (the default) or `AND`")]
    BadCondition(String),
    #[error("`{0}` is no target: use `secret` (the default), `match` or `line`")]
    BadTarget(String),
    #[error(
        "the allowlist allows nothing: give it `regexes`, `stopwords`, `paths` or `commits`, or remove it"
    )]
    EmptyAllowlist,
    #[error("`allowlist` and `allowlists` together: move the one into the others")]
    BothAllowlists,
    #[error("`targetRules` is for allowlists of the whole file: one that stands in a rule is for that rule")]
    TargetInRule,
    #[error("more than {max} bytes of {field} in one file: split or shorten the lists")]
    TooMuch { field: &'static str, max: usize },
}

/// A right construct that has no effect here. The rest of the file is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("rule `{0}` looks at file names only, and traffic has none: it is not used; remove it")]
    PathOnly(String),
    #[error(
        "rule `{0}` is for files of certain names, and traffic has none: it is not used; remove `path` to look everywhere"
    )]
    PathCondition(String),
    #[error(
        "rule `{0}` has no `regex`, so it can only change a rule of a configuration that is not loaded: it is not used; \
         write the rule out in full"
    )]
    NoRegex(String),
    #[error("rule `{0}` has no keyword and no literal to find it by: it is not used; add `keywords`")]
    NoKeyword(String),
    #[error(
        "the regex of rule `{0}` has a class of characters beyond ASCII, and keymoat looks at bytes: the rule is not \
         used; write the characters as alternatives"
    )]
    Unicode(String),
    #[error(
        "rule `{0}` counts only near finds of other rules: it is not used; remove `required` to use it alone"
    )]
    Required(String),
    #[error("rule `{0}` reports nothing by itself: it is not used; remove `skipReport` to see what it finds")]
    SkipReport(String),
    #[error("traffic has no file names: `paths` has no effect")]
    AllowedPaths,
    #[error("traffic has no commits: `commits` has no effect")]
    AllowedCommits,
    #[error(
        "traffic has neither file names nor commits, so this `AND` is never met: the allowlist is not used; remove \
         `paths` and `commits` from it"
    )]
    NeverAllows,
    #[error("no rule of this file that is used has the id `{0}`: correct or remove the target")]
    UnknownTarget(String),
    #[error(
        "gitleaks' default rules are not loaded, keymoat's built-in rules do their work: remove the line, or append \
         gitleaks' own file to this one"
    )]
    ExtendDefault,
    #[error("no other file is read from here: remove the line, and name that file in keymoat's `rules`")]
    ExtendOther,
    #[error("the rules of gitleaks' default configuration are not loaded, so none has to be disabled")]
    DisabledRules,
    #[error("another rule has the id `{id}` already ({other}): this one is called `{name}` in findings")]
    Renamed { id: String, name: String, other: String },
}

impl Unsupported {
    /// Does it cost a whole rule, not only a part of one?
    pub fn is_unused_rule(&self) -> bool {
        use Unsupported::{NoKeyword, NoRegex, PathCondition, PathOnly, Required, SkipReport, Unicode};
        matches!(
            self,
            PathOnly(_)
                | PathCondition(_)
                | NoRegex(_)
                | NoKeyword(_)
                | Unicode(_)
                | Required(_)
                | SkipReport(_)
        )
    }
}
