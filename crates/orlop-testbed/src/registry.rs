//! The registry that others use, as a program of its own, on loopback.

use crate::http::{Answer, send};
use base64::Engine;
use orlop_runtime::pack::{Blob, PackedImage};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A `docker-registry` on a port of the kernel's choice; ended when dropped.
pub struct Registry {
    child: Child,
    host: String,
    root: tempfile::TempDir,
}

impl Registry {
    /// Starts one that asks for a login, or not, and speaks TLS with a certificate and its key (both PEM), or plain http.
    ///
    /// # Panics
    /// When it (or `htpasswd`, for a login) is not installed, or does not say where it listens.
    pub fn start(login: Option<(&str, &str)>, tls: Option<(&Path, &Path)>) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| root.path().join(name);
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: 127.0.0.1:0\n",
            path("data").display()
        );
        if let Some((certificate, key)) = tls {
            let (certificate, key) = (certificate.display(), key.display());
            config.push_str(&format!("  tls: {{certificate: {certificate}, key: {key}}}\n"));
        }
        if let Some((user, password)) = login {
            let output = Command::new("htpasswd").args(["-Bbn", user, password]).output();
            let output = output.expect("htpasswd is installed (apt-get install apache2-utils)");
            std::fs::write(path("passwords"), output.stdout).expect("a file in the temporary directory");
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("passwords").display()));
        }
        std::fs::write(path("config.yml"), config).expect("a file in the temporary directory");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed (apt-get install docker-registry)");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let host = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let address = line.split("listening on ").nth(1)?;
            Some(address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>())
        });
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, host: host.expect("the registry says where it listens"), root }
    }

    /// `127.0.0.1:port`, the beginning of its images' names.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it keeps a blob's bytes.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = self.root.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    /// Pushes an image over plain http, as `docker push` does, with the tag 1.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push(&self, repository: &str, image: &PackedImage, login: Option<(&str, &str)>) {
        for Blob { digest, bytes, .. } in image.layers.iter().chain([&image.config]) {
            let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), login, &[], b"");
            let location = begun.head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
            });
            let location = location.unwrap_or_else(|| panic!("no location: {begun:?}"));
            let path = location.split_once(&self.host).map_or(location.as_str(), |(_, path)| path);
            let separator = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{separator}digest={digest}");
            self.ask("PUT", &path, login, &[("content-type", "application/octet-stream")], bytes);
        }
        let path = format!("/v2/{repository}/manifests/1");
        self.ask("PUT", &path, login, &[("content-type", image.manifest.media_type)], &image.manifest.bytes);
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        login: Option<(&str, &str)>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let basic = login.map(|(user, password)| basic(user, password));
        let mut headers = headers.to_vec();
        headers.push(("host", &self.host));
        headers.extend(basic.as_deref().map(|basic| ("authorization", basic)));
        let address = self.host.parse().expect("an address and a port");
        let answer = send(address, method, path, &headers, body).expect("a registry that answers");
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        answer
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of an `authorization` header.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A file in the form of docker's `config.json` with one login.
///
/// # Panics
/// When it cannot be written.
pub fn write_login(path: &Path, host: &str, user: &str, password: &str) {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    std::fs::write(path, format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#))
        .expect("a file that can be written");
}
