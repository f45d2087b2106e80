//! The registry that others use, as a program of its own: plain, with passwords, with TLS.

use crate::support::{Machine, busybox, within};
use base64::Engine;
use orlop_model::spec::{Image, PullPolicy};
use orlop_runtime::images::RegistryConfig;
use orlop_runtime::pack::{Blob, PackedImage};
use orlop_runtime::{ContainerRuntime, Containerd, ContainerdConfig};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Registry {
    child: Child,
    host: String,
    _root: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts `docker-registry` on a port of the kernel's choice.
fn registry(http: &str, auth: &str) -> Registry {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("config.yml");
    let data = root.path().join("data");
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http:\n  addr: 127.0.0.1:0\n{http}{auth}",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("docker-registry is installed (apt-get install docker-registry)");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let host = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let address = line.split("listening on ").nth(1)?;
            Some(address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>())
        })
        .expect("the registry says where it listens");
    // Somebody has to read what else it says.
    std::thread::spawn(move || lines.for_each(drop));
    Registry { child, host, _root: root }
}

fn client(ca: Option<&[u8]>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let certificates = ca.map(|pem| reqwest::Certificate::from_pem(pem).unwrap());
    builder.tls_certs_only(certificates).build().unwrap()
}

/// Pushes as `docker push` does.
async fn push(
    client: &reqwest::Client,
    base: &str,
    repository: &str,
    login: Option<(&str, &str)>,
    image: &PackedImage,
) {
    let send = async |request: reqwest::RequestBuilder| {
        let request = match login {
            Some((user, password)) => {
                let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                request.header("authorization", format!("Basic {text}"))
            }
            None => request,
        };
        within(request.send()).await.unwrap().error_for_status().unwrap()
    };
    for Blob { digest, bytes, .. } in image.layers.iter().chain([&image.config]) {
        let begun = send(client.post(format!("{base}/v2/{repository}/blobs/uploads/"))).await;
        let location = begun.headers()["location"].to_str().unwrap();
        let location = if location.starts_with('/') { format!("{base}{location}") } else { location.to_owned() };
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = client.put(format!("{location}{separator}digest={digest}"));
        send(put.header("content-type", "application/octet-stream").body(bytes.clone())).await;
    }
    let put = client.put(format!("{base}/v2/{repository}/manifests/1"));
    send(put.header("content-type", image.manifest.media_type).body(image.manifest.bytes.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_over_plain_http() {
    let registry = registry("", "");
    push(&client(None), &format!("http://{}", registry.host), "shop/busybox", None, busybox()).await;
    let config = RegistryConfig { insecure_registries: [registry.host.clone()].into(), ..RegistryConfig::default() };
    let machine = Machine::start_with(config).await;
    for name in ["shop/busybox:1".to_owned(), format!("shop/busybox@{}", busybox().manifest.digest)] {
        let image = Image { name: format!("{}/{name}", registry.host), pull_policy: PullPolicy::IfNotPresent };
        let image = within(machine.runtime.ensure_image(&image)).await.unwrap();
        assert_eq!(image.digest, busybox().manifest.digest);
        let (_, output) = machine.run(&machine.script("one", &image, "cat /data/file")).await;
        assert_eq!(output.last().unwrap(), "in the image");
    }
    machine.finish().await;
}

fn write_passwords(path: &Path) {
    let made = Command::new("htpasswd")
        .args(["-Bbn", "me", "secret"])
        .output()
        .expect("htpasswd is installed (apt-get install apache2-utils)");
    std::fs::write(path, made.stdout).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_with_passwords_behind_tls() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &rcgen::Issuer::from_params(&ca, &ca_key)).unwrap();
    std::fs::write(path("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    write_passwords(&path("htpasswd"));
    let registry = registry(
        &format!("  tls:\n    certificate: {}\n    key: {}\n", path("cert.pem").display(), path("key.pem").display()),
        &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd").display()),
    );
    let client = client(Some(ca_certificate.pem().as_bytes()));
    let base = format!("https://{}", registry.host);
    push(&client, &base, "shop/busybox", Some(("me", "secret")), busybox()).await;

    let login = |user: &str, password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let path = path("config.json");
        std::fs::write(&path, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host)).unwrap();
        path
    };
    let config = RegistryConfig {
        ca_files: [(registry.host.clone(), path("ca.pem"))].into(),
        credentials_file: Some(login("me", "secret")),
        ..RegistryConfig::default()
    };
    let machine = Machine::start_with(config.clone()).await;
    let image = Image { name: format!("{}/shop/busybox:1", registry.host), pull_policy: PullPolicy::Always };
    let found = within(machine.runtime.ensure_image(&image)).await.unwrap();
    assert_eq!(found.digest, busybox().manifest.digest);

    login("me", "wrong");
    let error = within(machine.runtime.ensure_image(&image)).await.unwrap_err();
    assert_eq!(error.code(), "image_unauthorized", "{error}");
    let distrustful = RegistryConfig { ca_files: Default::default(), ..config };
    let runtime = Containerd::new(ContainerdConfig { registries: distrustful, ..machine.config.clone() }).unwrap();
    let error = within(runtime.ensure_image(&image)).await.unwrap_err();
    assert_eq!(error.code(), "image_unavailable");
    assert!(error.to_string().contains("certificate"), "{error}");
    machine.finish().await;
}
