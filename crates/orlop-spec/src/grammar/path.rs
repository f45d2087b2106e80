//! Paths in containers, on nodes, and of requests.

use super::{Refusal, because};
use orlop_model::spec::{InvalidSecretPath, SecretPath};

const PATH_MAX: usize = 4096;

/// An absolute path without `.` and `..`, given back without doubled and trailing slashes.
pub(crate) fn absolute(text: &str) -> Result<String, Refusal> {
    if !text.starts_with('/') {
        return because(format!("a path begins with /: write /{}", text.trim_start_matches("./")));
    }
    if text.len() >= PATH_MAX {
        return because(format!("a path has fewer than {PATH_MAX} bytes"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return because("a path is written without . and .. in it");
    }
    if text.contains(char::is_control) {
        return because("a path has no control characters");
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Where something may be mounted in a container.
pub(crate) fn mount_target(text: &str) -> Result<String, Refusal> {
    let path = absolute(text)?;
    let below = |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if path == "/" || path == "/dev" || below("/proc") || below("/sys") {
        return because("/, /dev, /proc and /sys are the runtime's: mount elsewhere");
    }
    Ok(path)
}

/// Where the file of a secret may be in a container.
pub(crate) fn secret(text: &str) -> Result<SecretPath, Refusal> {
    absolute(text)?.parse().map_err(|problem: InvalidSecretPath| Refusal::Because(problem.to_string()))
}

/// The beginning of request paths, given back without trailing slashes.
pub(crate) fn request(text: &str) -> Result<String, Refusal> {
    const LENGTH_MAX: usize = 1024;
    if !text.starts_with('/') {
        return because(format!("a request's path begins with /: write /{}", text.trim_end_matches('*')));
    }
    if text.len() > LENGTH_MAX {
        return because(format!("the path has at most {LENGTH_MAX} bytes"));
    }
    if text.contains(['?', '#', '*']) {
        return because("a path is the beginning of what requests ask for, in whole segments: no *, query or fragment");
    }
    if !text.bytes().all(|c| c.is_ascii_graphic()) {
        return because("a path is of printable ASCII; write other characters in percent-encoding");
    }
    if text.contains("//") || text.split('/').any(|part| matches!(part, "." | "..")) {
        return because("a path is written without empty segments, . and ..");
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn paths_are_absolute_and_in_one_spelling() {
        assert_eq!(absolute("/srv/"), Ok("/srv".into()));
        assert_eq!(absolute("//a///b"), Ok("/a/b".into()));
        assert_eq!(absolute("/"), Ok("/".into()));
        assert!(remedy(absolute("srv")).contains("write /srv"));
        assert!(remedy(absolute("./srv")).contains("write /srv"));
        assert!(remedy(absolute("")).contains("begins with /"));
        assert!(remedy(absolute("/a/../b")).contains(".."));
        assert!(remedy(absolute("/a\nb")).contains("control"));
        assert!(remedy(absolute(&"/a".repeat(3000))).contains("4096"));
    }

    #[test]
    fn the_runtimes_own_mounts_stay_its_own() {
        for good in ["/data", "/dev/shm", "/process", "/etc/app.conf"] {
            assert_eq!(mount_target(good), Ok(good.to_owned()));
        }
        for bad in ["/", "//", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev/"] {
            assert!(remedy(mount_target(bad)).contains("the runtime's"), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_in_a_directory_of_secrets() {
        let path = secret("/run//secrets/key/").expect("a good path");
        assert_eq!((path.as_str(), path.directory()), ("/run/secrets/key", "/run/secrets"));
        assert!(remedy(secret("run/key")).contains("write /run/key"));
        assert!(remedy(secret("/run/../key")).contains(".."));
        for bad in ["/", "/key", "/etc/key", "/dev/key", "/proc/1/key", "/sys/key"] {
            assert!(remedy(secret(bad)).contains("holds secrets only, such as /run/secrets"), "{bad}");
        }
        assert!(remedy(secret(&format!("/run/{}", "k".repeat(256)))).contains("at most 255"));
    }

    #[test]
    fn request_paths_are_whole_segments() {
        for (text, path) in [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/a%20b/c", "/a%20b/c")] {
            assert_eq!(request(text), Ok(path.to_owned()), "{text}");
        }
        for (bad, expected) in [
            ("api", "write /api"),
            ("/api/*", "whole segments"),
            ("/a?b", "query"),
            ("/a b", "percent"),
            ("/ü", "percent"),
            ("/a//b", "empty segments"),
            ("/a/../b", ".."),
        ] {
            assert!(remedy(request(bad)).contains(expected), "{bad}");
        }
    }
}
