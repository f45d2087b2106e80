//! The registry that others use, as a program of its own: plain, with passwords, with TLS.

use crate::support::{Machine, busybox, within};
use orlop_model::spec::{Image, PullPolicy};
use orlop_runtime::images::RegistryConfig;
use orlop_runtime::pack::{Blob, PackedImage};
use orlop_runtime::{ContainerRuntime, Containerd, ContainerdConfig};
use orlop_testbed::{Registry, write_login};

fn client(ca: &[u8]) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let certificates = [reqwest::Certificate::from_pem(ca).unwrap()];
    builder.tls_certs_only(certificates).build().unwrap()
}

/// Pushes over TLS as `docker push` does.
async fn push(client: &reqwest::Client, base: &str, repository: &str, login: (&str, &str), image: &PackedImage) {
    let send = async |request: reqwest::RequestBuilder| {
        let request = request.basic_auth(login.0, Some(login.1));
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
    let registry = Registry::start(None, None);
    registry.push("shop/busybox", busybox(), None);
    let config =
        RegistryConfig { insecure_registries: [registry.host().to_owned()].into(), ..RegistryConfig::default() };
    let machine = Machine::start_with(config).await;
    for name in ["shop/busybox:1".to_owned(), format!("shop/busybox@{}", busybox().manifest.digest)] {
        let image = Image { name: format!("{}/{name}", registry.host()), pull_policy: PullPolicy::IfNotPresent };
        let image = within(machine.runtime.ensure_image(&image)).await.unwrap();
        assert_eq!(image.digest, busybox().manifest.digest);
        let (_, output) = machine.run(&machine.script("one", &image, "cat /data/file")).await;
        assert_eq!(output.last().unwrap(), "in the image");
    }
    machine.finish().await;
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
    let registry = Registry::start(Some(("me", "secret")), Some((&path("cert.pem"), &path("key.pem"))));
    let client = client(ca_certificate.pem().as_bytes());
    let base = format!("https://{}", registry.host());
    push(&client, &base, "shop/busybox", ("me", "secret"), busybox()).await;

    let login = |user: &str, password: &str| {
        write_login(&path("config.json"), registry.host(), user, password);
        path("config.json")
    };
    let config = RegistryConfig {
        ca_files: [(registry.host().to_owned(), path("ca.pem"))].into(),
        credentials_file: Some(login("me", "secret")),
        ..RegistryConfig::default()
    };
    let machine = Machine::start_with(config.clone()).await;
    let image = Image { name: format!("{}/shop/busybox:1", registry.host()), pull_policy: PullPolicy::Always };
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
