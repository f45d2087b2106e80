//! Whom a container runs as.

use super::{Refusal, because, whole};

/// `user`, `uid`, `user:group`, `uid:gid`, mixed as one likes; used as written.
pub(crate) fn check(text: &str) -> Result<String, Refusal> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if user.is_empty() && group.is_some() {
        return because("the user stands in front of the group: 1000:1000");
    }
    for part in std::iter::once(user).chain(group) {
        if part.starts_with(|c: char| c.is_ascii_digit()) {
            // The largest value means "none" to the kernel.
            if whole(part).is_none_or(|id| id >= u64::from(u32::MAX)) {
                return because(format!("a number of a user or group is from 0 to {}", u32::MAX - 1));
            }
        } else {
            let good = (1..=32).contains(&part.len())
                && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
                && !part.starts_with('-');
            if !good {
                return Err(Refusal::Plain);
            }
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        for good in ["0", "1000", "1000:1000", "nobody", "www-data:www-data", "nobody:65534", "4294967294"] {
            assert_eq!(check(good), Ok(good.to_owned()));
        }
        for (bad, expected) in [
            ("", "plain"),
            (":1000", "in front"),
            ("a:", "plain"),
            ("a:b:c", "plain"),
            ("a b", "plain"),
            ("-1", "plain"),
            ("1000x", "4294967294"),
            ("4294967295", "4294967294"),
            ("007", "4294967294"),
        ] {
            assert!(remedy(check(bad)).contains(expected), "{bad}: {}", remedy(check(bad)));
        }
    }
}
