//! Pulling from registries that behave, and from those that do not.

use crate::server::{Request, Response, Server, Store};
use crate::support::{Machine, busybox, busybox_entries, within};
use orlop_model::spec::{Image, PullPolicy};
use orlop_runtime::images::{Digest, Patience, RegistryConfig};
use orlop_runtime::pack::{Blob, Compression, Entry, PackOptions, PackedImage, pack};
use orlop_runtime::{ContainerRuntime, Containerd, RuntimeError};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn if_not_present(name: String) -> Image {
    Image { name, pull_policy: PullPolicy::IfNotPresent }
}

/// Several layers of some size.
fn layered(compression: Compression) -> PackedImage {
    let noise = |seed: u32| -> Vec<u8> {
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
    };
    let layers = (0..5).map(|n| vec![Entry::bytes(format!("/layer{n}"), noise(n))]);
    pack(&PackOptions {
        name: "localhost/layered:1".into(),
        cmd: vec!["/bin/ls".into(), "/".into()],
        layers: [busybox_entries()].into_iter().chain(layers).collect(),
        compression,
        ..PackOptions::default()
    })
    .unwrap()
}

async fn pull(machine: &Machine, name: String) -> Result<orlop_runtime::ResolvedImage, RuntimeError> {
    within(machine.runtime.ensure_image(&if_not_present(name))).await
}

fn count(requests: &[Request], part: &str) -> usize {
    requests.iter().filter(|request| request.target.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_every_compression_are_pulled_once_and_run() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let packed = layered(compression);
        let server = Server::of(&packed).await;
        let machine = Machine::start_with(server.config()).await;
        let name = server.name("shop/layered:1");
        let image = pull(&machine, name.clone()).await.unwrap();
        assert_eq!(image.digest, packed.manifest.digest);
        let mut spec = machine.script("ls", &image, "");
        spec.command = None;
        let (_, output) = machine.run(&spec).await;
        assert!((0..5).all(|n| output.contains(&format!("layer{n}"))), "{output:?}");
        let requests = server.take();
        assert_eq!((count(&requests, "/blobs/"), count(&requests, "/manifests/")), (7, 1));

        // Present: nobody is asked. Always: only whether it is still the same.
        assert_eq!(pull(&machine, name.clone()).await.unwrap(), image);
        let fresh = Containerd::new(machine.config.clone()).unwrap();
        assert_eq!(within(fresh.ensure_image(&if_not_present(name.clone()))).await.unwrap(), image);
        assert_eq!(server.take().len(), 0);
        let always = Image { name: name.clone(), pull_policy: PullPolicy::Always };
        assert_eq!(within(machine.runtime.ensure_image(&always)).await.unwrap(), image);
        assert_eq!(server.take().len(), 1);
        let images = within(machine.runtime.images()).await.unwrap();
        let size: usize = packed.layers.iter().chain([&packed.config, &packed.manifest]).map(|b| b.bytes.len()).sum();
        assert_eq!((images[0].name.as_str(), images[0].size), (name.as_str(), size as u64));
        machine.finish().await;
    }
}

/// Who is being served, and the most that ever were at once.
#[derive(Default)]
struct Crowd {
    now: usize,
    most: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_layers_as_are_allowed_come_at_once_and_no_more() {
    let packed = layered(Compression::Gzip);
    let store = Store::of(&packed);
    let patience = Patience { layers_at_once: 3, ..Patience::default() };
    let crowd = Arc::new((Mutex::new(Crowd::default()), Condvar::new()));
    let server = Server::start({
        let (crowd, layers) = (crowd.clone(), packed.layers.clone());
        move |request| {
            if layers.iter().any(|layer| request.target.ends_with(&layer.digest)) {
                // Nobody is answered before three have come: a pull of one after the other would end here.
                tokio::task::block_in_place(|| {
                    let (here, arrived) = &*crowd;
                    let mut here = here.lock();
                    here.now += 1;
                    here.most = here.most.max(here.now);
                    arrived.notify_all();
                    arrived.wait_while_for(&mut here, |here| here.most < 3, Duration::from_secs(10));
                    here.now -= 1;
                });
            }
            store.answer(request)
        }
    })
    .await;
    let machine = Machine::start_with(RegistryConfig { patience, ..server.config() }).await;
    assert_eq!(pull(&machine, server.name("shop/layered:1")).await.unwrap().digest, packed.manifest.digest);
    assert_eq!(crowd.0.lock().most, 3);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_followed_under_always_and_not_under_if_not_present() {
    let (first, second) = (busybox().clone(), layered(Compression::Gzip));
    let moved = Arc::new(AtomicUsize::new(0));
    let (one, two) = (Store::of(&first), Store::of(&second));
    let flag = moved.clone();
    let server = Server::start(move |request| match flag.load(Ordering::SeqCst) {
        0 => one.answer(request),
        _ => two.answer(request),
    })
    .await;
    let machine = Machine::start_with(server.config()).await;
    let name = server.name("a:1");
    assert_eq!(pull(&machine, name.clone()).await.unwrap().digest, first.manifest.digest);
    moved.store(1, Ordering::SeqCst);
    assert_eq!(pull(&machine, name.clone()).await.unwrap().digest, first.manifest.digest);
    let always = Image { name, pull_policy: PullPolicy::Always };
    assert_eq!(within(machine.runtime.ensure_image(&always)).await.unwrap().digest, second.manifest.digest);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_the_same_image_share_one_pull() {
    let packed = layered(Compression::Gzip);
    let server = Server::of(&packed).await;
    let machine = Machine::start_with(server.config()).await;
    let name = server.name("a:1");
    let pulls = (0..8).map(|_| pull(&machine, name.clone()));
    let images = futures::future::join_all(pulls).await;
    assert!(images.iter().all(|image| image.as_ref().unwrap() == images[0].as_ref().unwrap()));
    assert_eq!(server.take().len(), 8);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variant_for_this_machine_is_taken_from_an_index() {
    let packed = busybox().clone();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = |architecture: &str, digest: &str, size: usize| {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
                {{"mediaType":"{kind}","digest":"sha256:{none}","size":5,"platform":{{"os":"linux","architecture":"s390x"}}}},
                {{"mediaType":"{kind}","digest":"{digest}","size":{size},
                  "platform":{{"os":"linux","architecture":"{architecture}"}}}}]}}"#,
            kind = packed.manifest.media_type,
            none = "0".repeat(64),
        );
        let digest = Digest::of(text.as_bytes()).to_string();
        Blob { media_type: "application/vnd.oci.image.index.v1+json", digest, bytes: text.into_bytes() }
    };
    let mut store = Store::of(&packed);
    let good = index(architecture, &packed.manifest.digest, packed.manifest.bytes.len());
    store.tag("good", &good);
    store.tag("other", &index("riscv64", &packed.manifest.digest, 1));
    let server = Server::start(move |request| store.answer(request)).await;
    let machine = Machine::start_with(server.config()).await;
    let image = pull(&machine, server.name("a:good")).await.unwrap();
    assert_eq!(image.digest, good.digest);
    // Known again after a restart, with what the index leads to.
    let fresh = Containerd::new(machine.config.clone()).unwrap();
    assert_eq!(within(fresh.ensure_image(&if_not_present(server.name("a:good")))).await.unwrap(), image);
    let error = pull(&machine, server.name("a:other")).await.unwrap_err();
    assert_eq!(error.code(), "image_invalid");
    assert!(error.to_string().contains("linux/s390x, linux/riscv64"), "{error}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_with_the_credentials_and_sent_only_where_it_belongs() {
    let store = Store::of(busybox());
    let server = Server::start(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        if request.target.starts_with("/token") {
            let by_password = authorization == Some("Basic bWU6c2VjcmV0");
            let by_identity = request.method == "POST" && request.body.contains("refresh_token=identity%2Btoken");
            let scoped = request.target.contains("scope=repository%3Ashop%2Fa%3Apull")
                || request.body.contains("scope=repository%3Ashop%2Fa%3Apull");
            return match (by_password || by_identity) && scoped {
                true => Response::new(200, r#"{"token":"let-me-in"}"#),
                false => Response::new(401, r#"{"details":"incorrect username or password"}"#),
            };
        }
        if authorization == Some("Bearer let-me-in") {
            return store.answer(request);
        }
        let host = &request.headers["host"];
        let challenge =
            format!(r#"Bearer realm="http://{host}/token",service="registry.example",scope="repository:shop/a:pull""#);
        Response::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
            .header("www-authenticate", challenge)
    })
    .await;
    let mut config = server.config();
    let credentials = std::env::temp_dir().join(format!("orlop-test-{}.json", uuid::Uuid::new_v4().simple()));
    config.credentials_file = Some(credentials.clone());
    let machine = Machine::start_with(config).await;
    let name = server.name("shop/a:1");
    let write = |auth: &str| {
        std::fs::write(&credentials, format!(r#"{{"auths":{{"{}":{{{auth}}}}}}}"#, server.host)).unwrap();
    };

    let error = pull(&machine, name.clone()).await.unwrap_err();
    assert_eq!(error.code(), "image_unauthorized");
    assert!(error.to_string().contains("has no credentials for it"), "{error}");
    write(r#""auth":"bWU6d3Jvbmc=""#);
    let error = pull(&machine, name.clone()).await.unwrap_err();
    assert_eq!(error.code(), "image_unauthorized");
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    std::fs::write(&credentials, format!(r#"{{"credHelpers":{{"{}":"vault"}}}}"#, server.host)).unwrap();
    let error = pull(&machine, name.clone()).await.unwrap_err();
    assert_eq!(error.code(), "image_unauthorized");
    assert!(error.to_string().contains("\"vault\""), "{error}");
    // Read anew for each pull, so a login helps at once.
    write(r#""auth":"bWU6c2VjcmV0""#);
    server.take();
    pull(&machine, name.clone()).await.unwrap();
    assert_eq!(count(&server.take(), "/token"), 1);
    write(r#""identitytoken":"identity+token""#);
    let always = Image { name, pull_policy: PullPolicy::Always };
    within(machine.runtime.ensure_image(&always)).await.unwrap();
    std::fs::remove_file(&credentials).unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_breaks_off_is_resumed_where_it_broke() {
    let packed = layered(Compression::None);
    let size = packed.layers[1].bytes.len();
    let store = Store::of(&packed);
    let server = Server::start(move |request| {
        let mut response = store.answer(request);
        if response.body.len() > 250_000 {
            response.cut = Some(200_000);
        }
        response
    })
    .await;
    let machine = Machine::start_with(server.config()).await;
    // busybox itself is larger than the attempts allow; the layers are not.
    assert!(size > 250_000 && size < 400_000);
    let error = pull(&machine, server.name("a:1")).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("image_unavailable", false), "{error}");
    // Each further pull gets further, because what came is kept.
    let mut pulls = 1;
    while pull(&machine, server.name("a:1")).await.is_err() {
        pulls += 1;
        assert!(pulls < 10, "no progress");
    }
    // A pull that fails for one layer may end before another has begun, or in the middle of it: where the small layer is
    // resumed is not certain, but every request for it goes on from where the one before broke.
    let layer = &packed.layers[1].digest;
    let starts: Vec<usize> = server
        .take()
        .iter()
        .filter(|request| request.target.ends_with(layer.as_str()))
        .map(|request| match request.headers.get("range") {
            None => 0,
            Some(range) => range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap(),
        })
        .collect();
    assert_eq!(starts.first(), Some(&0), "{starts:?}");
    assert!(starts.len() > 1 && starts.is_sorted_by(|a, b| a < b), "{starts:?}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_ranges_is_resumed_too() {
    let packed = busybox();
    let (store, cut) = (Store::of(packed), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let mut response = store.answer(&plain);
        if response.body.len() > 100_000 && cut.fetch_add(1, Ordering::SeqCst) == 0 {
            response.cut = Some(70_000);
        }
        response
    })
    .await;
    let machine = Machine::start_with(server.config()).await;
    pull(&machine, server.name("a:1")).await.unwrap();
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_silent_or_in_trouble_is_asked_again_and_then_given_up() {
    let packed = busybox();
    let store = Store::of(packed);
    let failures = Arc::new(AtomicUsize::new(0));
    let left = failures.clone();
    let server = Server::start(move |request| {
        if request.target.contains("silent") {
            return Response { hang: true, ..Response::new(200, "x") };
        }
        if request.target.contains("silent-blob") {
            return store.answer(request);
        }
        let fails = left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        match (fails, request.target.contains("limited")) {
            (true, true) => Response::new(429, "").header("retry-after", "0"),
            (true, false) => Response::new(503, ""),
            (false, _) => store.answer(request),
        }
    })
    .await;
    let machine = Machine::start_with(server.config()).await;
    for name in ["limited/a:1", "troubled/a:1"] {
        failures.store(2, Ordering::SeqCst);
        pull(&machine, server.name(name)).await.unwrap();
        failures.store(100, Ordering::SeqCst);
        let always = Image { name: server.name(name), pull_policy: PullPolicy::Always };
        let error = within(machine.runtime.ensure_image(&always)).await.unwrap_err();
        assert_eq!(error.code(), "image_unavailable");
        assert!(error.to_string().contains("3 attempts failed"), "{error}");
    }
    let error = pull(&machine, server.name("silent/a:1")).await.unwrap_err();
    assert_eq!(error.code(), "image_unavailable", "{error}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_falls_silent_does_not_hang_the_pull() {
    let store = Store::of(busybox());
    let server =
        Server::start(move |request| Response { hang: request.target.contains("/blobs/"), ..store.answer(request) })
            .await;
    let machine = Machine::start_with(server.config()).await;
    let error = pull(&machine, server.name("a:1")).await.unwrap_err();
    assert_eq!(error.code(), "image_unavailable", "{error}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_it_should_be_is_refused() {
    let packed = busybox().clone();
    let mut wrong_bytes = Store::of(&packed);
    wrong_bytes.blobs.get_mut(&packed.layers[1].digest).unwrap()[7] ^= 1;
    let mut longer = Store::of(&packed);
    longer.blobs.get_mut(&packed.layers[1].digest).unwrap().push(0);
    let mut not_tar = Store::default();
    let layer = b"this is no layer".to_vec();
    let digest = Digest::of(&layer).to_string();
    let config = format!(
        r#"{{"os":"linux","architecture":"{}","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#,
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":{}}}]}}"#,
        Digest::of(config.as_bytes()),
        config.len(),
        layer.len(),
    );
    not_tar.blobs.insert(Digest::of(config.as_bytes()).to_string(), config.clone().into_bytes());
    not_tar.blobs.insert(digest.clone(), layer);
    not_tar.manifests.insert("1".into(), (packed.manifest.media_type.into(), manifest.into_bytes()));
    // The layer is sound, but not the one that the config speaks of.
    let other = layered(Compression::Gzip);
    let mut swapped = Store::of(&packed);
    let text = String::from_utf8(packed.manifest.bytes.clone()).unwrap();
    let (ours, theirs) = (&packed.layers[1], &other.layers[1]);
    let text = text
        .replace(&ours.digest, &theirs.digest)
        .replace(&format!("\"size\":{}", ours.bytes.len()), &format!("\"size\":{}", theirs.bytes.len()));
    swapped.blobs.insert(theirs.digest.clone(), theirs.bytes.clone());
    swapped.manifests.insert("1".into(), (packed.manifest.media_type.into(), text.into_bytes()));
    let mut page = Store::default();
    page.manifests.insert("1".into(), ("text/html".into(), b"<html>".to_vec()));
    let mut other_manifest = Store::of(&packed);
    let by_digest = packed.manifest.digest.clone();
    other_manifest.tag(&by_digest, &other.manifest);

    let stores = [wrong_bytes, longer, not_tar, swapped, page, other_manifest];
    let server = Server::start(move |request| {
        let number: usize = request.target["/v2/store".len()..][..1].parse().unwrap();
        stores[number].answer(request)
    })
    .await;
    let machine = Machine::start_with(server.config()).await;
    let cases = [
        ("store0/a:1".to_owned(), "unexpected commit digest"),
        ("store1/a:1".into(), "has more"),
        ("store2/a:1".into(), "cannot be unpacked"),
        ("store3/a:1".into(), "unpacks to"),
        ("store4/a:1".into(), "cannot be read"),
        (format!("store5/a@{by_digest}"), "instead of"),
    ];
    for (name, part) in cases {
        let error = pull(&machine, server.name(&name)).await.unwrap_err();
        assert_eq!((error.code(), error.is_permanent()), ("image_invalid", true), "{name}: {error}");
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
    assert_eq!(within(machine.runtime.images()).await.unwrap(), []);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed_says_so() {
    let server = Server::of(busybox()).await;
    let mut config = server.config();
    let machine = Machine::start_with(config.clone()).await;
    let error = pull(&machine, server.name("a:nosuchtag")).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("image_not_found", false));
    assert!(error.to_string().contains("manifest unknown"), "{error}");
    server.take();
    let never = Image { name: server.name("a:1"), pull_policy: PullPolicy::Never };
    let error = within(machine.runtime.ensure_image(&never)).await.unwrap_err();
    assert_eq!(error.code(), "image_not_found");
    assert!(error.to_string().contains("pull_policy is never"), "{error}");
    assert_eq!(server.take().len(), 0);
    let error = pull(&machine, "no name".into()).await.unwrap_err();
    assert_eq!(error.code(), "image_invalid");

    // Plain http is spoken to nobody who is not listed, on loopback neither.
    config.insecure_registries.clear();
    let strict =
        Containerd::new(orlop_runtime::ContainerdConfig { registries: config, ..machine.config.clone() }).unwrap();
    let error = within(strict.ensure_image(&if_not_present(server.name("a:1")))).await.unwrap_err();
    assert_eq!(error.code(), "image_unavailable");
    assert!(error.to_string().contains("insecure_registries"), "{error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("{}/a:1", listener.local_addr().unwrap());
    drop(listener);
    let error = within(strict.ensure_image(&if_not_present(closed))).await.unwrap_err();
    assert_eq!(error.code(), "image_unavailable");
    assert!(error.to_string().contains("refused"), "{error}");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_called_that() {
    let packed = layered(Compression::None);
    let server = Server::of(&packed).await;
    let machine = Machine::start_on(server.config(), Some(2 << 20)).await;
    let error = pull(&machine, server.name("a:1")).await.unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("disk_full", false), "{error}");
    machine.finish().await;
}
