//! Environment variables.

use super::{Refusal, because};
use orlop_model::spec::EnvValue;

/// Linux passes at most this many bytes of one variable to a program, name and `=` included.
pub(crate) const VARIABLE_MAX: usize = 128 * 1024 - 1;

/// A variable's name: letters, digits, `_`, `.`, `-`, not beginning with a digit.
pub(crate) fn name(text: &str) -> Result<String, Refusal> {
    let good = (1..=256).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if good { Ok(text.to_owned()) } else { Err(Refusal::Plain) }
}

/// A variable's value: text as written, `$E:NAME`, `$S:name`, or `$$…` for text that begins with `$`.
pub(crate) fn value(text: &str) -> Result<EnvValue, Refusal> {
    if text.len() > VARIABLE_MAX {
        return because(format!("a variable has at most {VARIABLE_MAX} bytes; larger things belong into a file"));
    }
    let Some(rest) = text.strip_prefix('$') else { return Ok(EnvValue::Literal(text.to_owned())) };
    if rest.starts_with('$') {
        return Ok(EnvValue::Literal(rest.to_owned()));
    }
    if let Some(variable) = rest.strip_prefix("E:") {
        return match name(variable) {
            Ok(variable) => Ok(EnvValue::AgentEnv(variable)),
            Err(_) => because("after $E: comes the name of a variable of the agent's environment, as in $E:DB_URL"),
        };
    }
    if let Some(secret) = rest.strip_prefix("S:") {
        return match secret.parse() {
            Ok(secret) => Ok(EnvValue::Secret(secret)),
            Err(_) => because("after $S: comes the name of a secret: letters, digits, -, _ and ."),
        };
    }
    because(format!("a value that begins with $ is $E:NAME or $S:NAME; for the text itself write $${rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn values_are_text_unless_they_begin_with_a_dollar() {
        for (text, value_) in [
            ("", EnvValue::Literal("".into())),
            ("a $E:X", EnvValue::Literal("a $E:X".into())),
            ("$$HOME", EnvValue::Literal("$HOME".into())),
            ("$$", EnvValue::Literal("$".into())),
            ("$E:DB_URL", EnvValue::AgentEnv("DB_URL".into())),
            ("$S:api-key", EnvValue::Secret("api-key".parse().unwrap())),
        ] {
            assert_eq!(value(text), Ok(value_), "{text}");
        }
        for (bad, expected) in [
            ("$HOME", "write $$HOME"),
            ("$", "write $$"),
            ("$e:X", "write $$e:X"),
            ("$E:", "the name of a variable"),
            ("$E:a b", "the name of a variable"),
            ("$S:", "the name of a secret"),
            ("$S:a/b", "the name of a secret"),
        ] {
            assert!(remedy(value(bad)).contains(expected), "{bad}: {}", remedy(value(bad)));
        }
        assert!(remedy(value(&"x".repeat(200_000))).contains("131071"));
    }

    #[test]
    fn names_are_what_programs_can_read() {
        for good in ["A", "_a1", "discovery.type", "a-b"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in ["", "1A", "A=B", "A B", "ü", &"a".repeat(257)] {
            assert_eq!(name(bad), Err(Refusal::Plain), "{bad}");
        }
    }
}
