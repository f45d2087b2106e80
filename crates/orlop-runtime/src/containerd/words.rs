//! What runc says when a container or a process cannot be set up.

use crate::RuntimeError;
use crate::container::{ContainerSpec, MountSource};
use std::path::Path;

/// What runc's words mean. They are not an interface, so whatever is not understood is passed on as it is. `spec` is
/// that of the container that was to be set up; none for other steps.
pub(crate) fn runc_error(doing: &str, detail: &str, spec: Option<&ContainerSpec>) -> RuntimeError {
    let text = detail.trim_end_matches(": unknown");
    let text = text.split("unable to start container process: ").last().unwrap_or(text);
    let text = text.strip_prefix("failed to create shim task: ").unwrap_or(text);
    if super::client::is_disk_full(text) {
        return RuntimeError::DiskFull { detail: format!("{doing}: {text}") };
    }
    if let Some(rest) = text.strip_prefix("exec: ") {
        let command = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
        let reason = rest.rsplit(": ").next().unwrap_or(rest).to_owned();
        // runc has the same words for a directory.
        if rest.contains("permission denied") || rest.contains("is a directory") {
            let detail = format!("{command} cannot be executed: it is a directory, or its file is not executable");
            return RuntimeError::PermissionDenied { detail };
        }
        if rest.contains("not found") || rest.contains("no such file") || rest.contains("not a directory") {
            return RuntimeError::CommandNotFound { command, detail: reason };
        }
    }
    let Some(spec) = spec else { return RuntimeError::other(doing, text) };
    if text.contains("error mounting") {
        let found = spec.mounts.iter().find(|mount| text.contains(&format!("\"{}\"", mount.target)));
        let target = found.map_or("?", |mount| mount.target.as_str()).to_owned();
        let is_file = |path: &Path| std::fs::metadata(path).is_ok_and(|file| !file.is_dir());
        let detail = match found.map(|mount| &mount.source) {
            Some(source) if text.ends_with("not a directory") => match source {
                MountSource::Bind(path) if is_file(path) => {
                    format!("the image has a directory there, and {} of the node is a file", path.display())
                }
                MountSource::Data(_) => "the image has a file there, where a directory is needed".to_owned(),
                _ => "the image has a file there, and the volume is a directory".to_owned(),
            },
            _ => text.to_owned(),
        };
        return RuntimeError::MountInvalid { target, detail };
    }
    let text = text.strip_prefix("error during container init: ").unwrap_or(text);
    let path = spec.working_dir.as_deref().unwrap_or(&spec.image.config.working_dir);
    let is_made = text.strip_prefix("mkdir ").and_then(|rest| rest.split(": ").next()).is_some_and(|made| {
        let below = path.strip_prefix(made).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        !path.is_empty() && below
    });
    if is_made || text.starts_with("chdir to cwd") {
        let detail = match text.rsplit(": ").next().unwrap_or(text) {
            "not a directory" => "a file is there",
            "permission denied" => "the user that the process runs as may not enter it",
            other => other,
        };
        return RuntimeError::WorkingDirInvalid { path: path.to_owned(), detail: detail.to_owned() };
    }
    RuntimeError::other(doing, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{LogTarget, Mount};
    use crate::image::ResolvedImage;

    fn spec(working_dir: &str, mounts: &[(&str, MountSource)]) -> ContainerSpec {
        let mount = |(target, source): &(&str, MountSource)| Mount {
            target: (*target).to_owned(),
            read_only: false,
            source: source.clone(),
        };
        ContainerSpec {
            id: "c".into(),
            labels: Default::default(),
            image: ResolvedImage {
                name: "localhost/x:1".into(),
                digest: String::new(),
                chain_id: String::new(),
                config: Default::default(),
            },
            command: None,
            args: None,
            env: Default::default(),
            working_dir: Some(working_dir.to_owned()),
            user: None,
            hostname: "c".into(),
            resources: Default::default(),
            network_namespace: None,
            mounts: mounts.iter().map(mount).collect(),
            log: LogTarget::Discard,
            kin: None,
        }
    }

    /// Messages of runc 1.1.5, word for word.
    #[test]
    fn each_failure_is_named_as_what_it_is() {
        let init = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";
        let data = MountSource::Volume("/var/lib/orlop/agent/volumes/shop/data".into());
        let this_file = MountSource::Bind(std::env::current_exe().expect("a path"));
        let spec = spec("/etc/passwd/x", &[("/etc/passwd", data), ("/srv", this_file)]);
        for (said, code, words) in [
            (
                "exec: \"/srv/app\": permission denied: unknown",
                "permission_denied",
                "/srv/app cannot be executed: it is a directory, or its file is not executable",
            ),
            (
                "exec: \"/bin/slep\": stat /bin/slep: no such file or directory: unknown",
                "command_not_found",
                "\"/bin/slep\" was not found in the image",
            ),
            (
                "exec: \"slep\": executable file not found in $PATH: unknown",
                "command_not_found",
                "\"slep\" was not found",
            ),
            (
                "error during container init: mkdir /etc/passwd: not a directory: unknown",
                "working_dir_invalid",
                "the working directory /etc/passwd/x cannot be used: a file is there",
            ),
            (
                "error during container init: mkdir /etc/other: not a directory: unknown",
                "runtime_failed",
                "mkdir /etc/other",
            ),
            (
                "chdir to cwd (\"/etc/passwd/x\") set in config.json failed: permission denied: unknown",
                "working_dir_invalid",
                "may not enter it",
            ),
            (
                "error during container init: error mounting \"/v\" to rootfs at \"/etc/passwd\": mount /v:/etc/passwd (via /proc/self/fd/6), flags: 0x5000: not a directory: unknown",
                "mount_invalid",
                "volume /etc/passwd cannot be mounted: the image has a file there, and the volume is a directory",
            ),
            (
                "error during container init: error mounting \"/f\" to rootfs at \"/srv\": mount /f:/srv (via /proc/self/fd/6), flags: 0x5000: not a directory: unknown",
                "mount_invalid",
                "volume /srv cannot be mounted: the image has a directory there, and /",
            ),
            ("something new: unknown", "runtime_failed", "setting up failed: something new"),
        ] {
            let error = runc_error("setting up", &format!("{init}{said}"), Some(&spec));
            assert_eq!(error.code(), code, "{said}: {error}");
            assert!(error.to_string().contains(words), "{said}: {error}");
        }
    }
}
