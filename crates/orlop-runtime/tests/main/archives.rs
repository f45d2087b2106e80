//! Importing archives, honest and not.

use crate::support::{Machine, busybox, within};
use orlop_model::spec::{Image, PullPolicy};
use orlop_runtime::images::Digest;
use orlop_runtime::pack::PackedImage;
use orlop_runtime::{ContainerRuntime, ImageInfo, RuntimeError};
use std::io::{Cursor, Read};
use std::process::Command;

fn archive(image: &PackedImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_archive(&mut bytes).unwrap();
    bytes
}

async fn import(machine: &Machine, bytes: Vec<u8>, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
    within(machine.runtime.import(Box::new(Cursor::new(bytes)), name)).await
}

/// What containerd's own tool lists.
fn ctr(machine: &Machine, arguments: &[&str]) -> String {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(&machine.config.socket).args(["--namespace", &machine.config.namespace]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn assert_empty(machine: &Machine) {
    assert_eq!(ctr(machine, &["content", "ls", "-q"]), "");
    assert_eq!(ctr(machine, &["leases", "ls", "-q"]), "");
    assert_eq!(ctr(machine, &["images", "ls", "-q"]), "");
    assert_eq!(ctr(machine, &["content", "active"]).lines().count(), 1, "unfinished blobs");
    assert_eq!(ctr(machine, &["snapshots", "ls"]).lines().count(), 1, "snapshots");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_imported_however_it_is_compressed_and_stays() {
    let machine = Machine::start().await;
    let plain = archive(busybox());
    let mut gzipped = Vec::new();
    flate2::read::GzEncoder::new(plain.as_slice(), flate2::Compression::fast()).read_to_end(&mut gzipped).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for (bytes, name) in [(plain, None), (gzipped, Some("r.example/two:2")), (zstd, Some("r.example/three"))] {
        let infos = import(&machine, bytes, name).await.unwrap();
        assert_eq!(infos.len(), 1);
        assert_eq!(infos[0].digest, busybox().manifest.digest);
    }
    let names: Vec<_> = within(machine.runtime.images()).await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["localhost/busybox:1", "r.example/three:latest", "r.example/two:2"]);
    assert_eq!(ctr(&machine, &["leases", "ls", "-q"]), "");
    // Nothing that the image needs is collected when other things go.
    ctr(&machine, &["images", "rm", "--sync", "r.example/two:2", "r.example/three:latest"]);
    let image = Image { name: "localhost/busybox:1".into(), pull_policy: PullPolicy::Never };
    let image = within(machine.runtime.ensure_image(&image)).await.unwrap();
    let (_, output) = machine.run(&machine.script("one", &image, "cat /data/file")).await;
    assert_eq!(output, ["in the image"]);
    ctr(&machine, &["images", "rm", "--sync", "localhost/busybox:1"]);
    assert_empty(&machine);
    machine.finish().await;
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// What `docker save` of old writes.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_docker_save_is_imported() {
    let machine = Machine::start().await;
    let image = busybox();
    let config = image.config.bytes.clone();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut files = vec![(config_name.clone(), config)];
    let mut layers = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(layer.bytes.as_slice()).read_to_end(&mut bytes).unwrap();
        layers.push(format!("{number}/layer.tar"));
        files.push((layers[number].clone(), bytes));
    }
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":["r.example/saved:1","r.example/saved:2"],"Layers":["{}"]}}]"#,
        layers.join("\",\"")
    );
    files.push(("manifest.json".into(), manifest.into_bytes()));
    let infos = import(&machine, tar(&files), None).await.unwrap();
    assert_eq!(
        infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(),
        ["r.example/saved:1", "r.example/saved:2"]
    );
    let image = Image { name: "r.example/saved:2".into(), pull_policy: PullPolicy::Never };
    let image = within(machine.runtime.ensure_image(&image)).await.unwrap();
    let (_, output) = machine.run(&machine.script("one", &image, "cat /data/file")).await;
    assert_eq!(output, ["in the image"]);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_archive_leaves_nothing() {
    let machine = Machine::start().await;
    let image = busybox();
    let blob = |digest: &str| format!("blobs/sha256/{}", &digest["sha256:".len()..]);
    let index = |digest: &str| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{}}}]}}"#,
            image.manifest.media_type,
            image.manifest.bytes.len()
        )
        .into_bytes()
    };
    let whole: Vec<(String, Vec<u8>)> = image
        .layers
        .iter()
        .chain([&image.config, &image.manifest])
        .map(|b| (blob(&b.digest), b.bytes.clone()))
        .chain([("index.json".to_owned(), index(&image.manifest.digest))])
        .collect();
    let without = |part: &str| tar(&whole.iter().filter(|(name, _)| !name.contains(part)).cloned().collect::<Vec<_>>());
    let mut torn = tar(&whole);
    torn.truncate(torn.len() / 2);
    let mut forged = whole.clone();
    forged[1].1[9] ^= 1;
    let cases = [
        (without(&image.layers[0].digest[7..]), "is missing"),
        (without(&image.config.digest[7..]), "is missing"),
        (without(&image.manifest.digest[7..]), "is missing"),
        (without("index.json"), "neither index.json"),
        (torn, "broke off"),
        (tar(&forged), "not what its name says"),
        (b"hello".to_vec(), "no tar archive"),
        (Vec::new(), "empty"),
    ];
    for (bytes, part) in cases {
        let error = import(&machine, bytes, Some("r.example/a:1")).await.unwrap_err();
        assert_eq!(error.code(), "image_invalid", "{error}");
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
        assert_empty(&machine);
    }
    let error = import(&machine, tar(&whole), None).await.unwrap_err();
    assert!(error.to_string().contains("give a name"), "{error}");
    assert_empty(&machine);
    assert_eq!(import(&machine, tar(&whole), Some("r.example/a:1")).await.unwrap().len(), 1);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_an_import_with_that_word() {
    let machine = Machine::start_on(Default::default(), Some(1 << 20)).await;
    let error = import(&machine, archive(busybox()), None).await.unwrap_err();
    assert_eq!(error.code(), "disk_full", "{error}");
    machine.finish().await;
}
