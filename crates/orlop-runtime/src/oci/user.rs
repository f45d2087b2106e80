//! Who a container runs as: `user`, `uid`, `user:group` or `uid:gid`, looked up in the image's own files.

use crate::RuntimeError;

/// A user as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
}

/// The image's files; empty where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserFiles {
    pub(crate) passwd: Vec<u8>,
    pub(crate) group: Vec<u8>,
}

/// The user that needs no file to be read: root, or numbers for both.
pub(crate) fn resolve_without_files(text: &str) -> Option<User> {
    match text.split_once(':') {
        None if matches!(text, "" | "0" | "root") => Some(User::default()),
        Some((user, group)) => {
            let uid = if user == "root" { 0 } else { number(user)? };
            let gid = if group == "root" { 0 } else { number(group)? };
            Some(User { uid, gid, additional_gids: Vec::new() })
        }
        None => None,
    }
}

/// Looks the user up. A number that the files do not know is used as it is, with group 0.
pub(crate) fn resolve(text: &str, files: &UserFiles) -> Result<User, RuntimeError> {
    if let Some(user) = resolve_without_files(text) {
        return Ok(user);
    }
    let unknown = |detail: String| RuntimeError::UnknownUser { user: text.to_owned(), detail };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let entry = passwd(&files.passwd).find(|entry| entry.name == user || number(user) == Some(entry.uid));
    let uid = match (&entry, number(user)) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(unknown(format!("there is no user {user:?} in the image's /etc/passwd"))),
    };
    let Some(group) = group else {
        let Some(entry) = entry else { return Ok(User { uid, gid: 0, additional_gids: Vec::new() }) };
        let mut additional_gids: Vec<u32> =
            groups(&files.group).filter(|g| g.members.contains(&entry.name)).map(|g| g.gid).collect();
        additional_gids.sort_unstable();
        additional_gids.dedup();
        return Ok(User { uid, gid: entry.gid, additional_gids });
    };
    let found = groups(&files.group).find(|g| g.name == group).map(|g| g.gid);
    let gid = found
        .or_else(|| number(group))
        .ok_or_else(|| unknown(format!("there is no group {group:?} in the image's /etc/group")))?;
    Ok(User { uid, gid, additional_gids: Vec::new() })
}

/// Ids that the kernel takes; the last one means "none" to it.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id < u32::MAX && text.bytes().all(|c| c.is_ascii_digit()))
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn passwd(bytes: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_, uid, gid) = (fields.next()?, number(fields.next()?)?, number(fields.next()?)?);
        Some(PasswdEntry { name, uid, gid })
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

fn groups(bytes: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (_, gid) = (fields.next()?, number(fields.next()?)?);
        let members = fields.next().unwrap_or_default().trim().split(',').filter(|m| !m.is_empty()).collect();
        Some(GroupEntry { name, gid, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let files = UserFiles {
            passwd: b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/:/bin/false\nbroken\n:x:7:7\nbig:x:99999999999:1\n\xff:x:8:8\n"
                .to_vec(),
            group: b"root:x:0:\nweb:x:1001:\ndisk:x:6:web,other\ntape:x:5:web\nempty:x:9:".to_vec(),
        };
        let user = |uid, gid, additional: &[u32]| Ok(User { uid, gid, additional_gids: additional.to_vec() });
        let check = |text: &str, expected: Result<User, &str>| match (resolve(text, &files), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(RuntimeError::UnknownUser { detail, .. }), Err(part)) => assert!(detail.contains(part), "{detail}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        };
        check("", user(0, 0, &[]));
        check("root", user(0, 0, &[]));
        check("0", user(0, 0, &[]));
        check("web", user(1000, 1001, &[5, 6]));
        check("1000", user(1000, 1001, &[5, 6]));
        check("web:disk", user(1000, 6, &[]));
        check("web:77", user(1000, 77, &[]));
        check("5000", user(5000, 0, &[]));
        check("5000:6000", user(5000, 6000, &[]));
        check("5000:tape", user(5000, 5, &[]));
        check("nobody", Err("no user \"nobody\""));
        check("web:nogroup", Err("no group \"nogroup\""));
        check("big", Err("no user"));
        check("4294967295", Err("no user"));
        check("-1", Err("no user"));
        check("+5", Err("no user"));
        check(":5", Err("no user \"\""));
    }
}
