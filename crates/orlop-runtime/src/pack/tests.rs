use super::layer::interpreter;
use super::*;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn options(layers: Vec<Vec<Entry>>) -> PackOptions {
    PackOptions { name: "localhost/test:1".into(), layers, ..PackOptions::default() }
}

/// Path, type, mode, owner, content or link of each entry of a tar.
fn listed(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        if let Some(link) = entry.link_name().unwrap() {
            content = link.display().to_string();
        }
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        let kind = match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            _ => '-',
        };
        assert_eq!(header.mtime().unwrap(), 0);
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        format!("{kind}{mode:o} {uid}:{gid} {path} {content}").trim_end().to_owned()
    });
    entries.collect()
}

fn unpacked(image: &PackedImage) -> Vec<Vec<u8>> {
    let unpack = |blob: &Blob| {
        let mut tar = Vec::new();
        match blob.media_type.rsplit('+').next() {
            Some("gzip") => {
                flate2::read::GzDecoder::new(blob.bytes.as_slice()).read_to_end(&mut tar).unwrap();
            }
            Some("zstd") => tar = zstd::decode_all(blob.bytes.as_slice()).unwrap(),
            _ => tar.clone_from(&blob.bytes),
        }
        tar
    };
    image.layers.iter().map(unpack).collect()
}

#[test]
fn a_layer_holds_what_was_asked_for_sorted_and_with_the_directories_on_the_way() {
    let entries = vec![
        Entry::bytes("/usr/share/x/hello.txt", "hi"),
        Entry::directory("/tmp").mode(0o1777),
        Entry::bytes("/etc/passwd", "root:x:0:0::/:\n"),
        Entry::symlink("/bin/sh", "busybox"),
        Entry::directory("/data").owner(1000, 100),
    ];
    let image = pack(&options(vec![entries])).unwrap();
    assert_eq!(
        listed(&unpacked(&image)[0]),
        [
            "d755 0:0 bin/",
            "l777 0:0 bin/sh busybox",
            "d755 1000:100 data/",
            "d755 0:0 etc/",
            "-644 0:0 etc/passwd root:x:0:0::/:",
            "d1777 0:0 tmp/",
            "d755 0:0 usr/",
            "d755 0:0 usr/share/",
            "d755 0:0 usr/share/x/",
            "-644 0:0 usr/share/x/hello.txt hi",
        ]
    );
}

#[test]
fn a_directory_is_packed_with_all_that_is_below_it() {
    let directory = tempfile::tempdir().unwrap();
    let site = directory.path().join("site");
    let long = "n".repeat(150);
    fs::create_dir_all(site.join("sub")).unwrap();
    fs::write(site.join("sub").join(&long), "long").unwrap();
    fs::write(site.join("run"), "#!").unwrap();
    fs::set_permissions(site.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("nowhere", site.join("dangling")).unwrap();
    let image = pack(&options(vec![vec![Entry::path(&site, "/srv/site")]])).unwrap();
    assert_eq!(
        listed(&unpacked(&image)[0]),
        [
            "d755 0:0 srv/".to_owned(),
            "d755 0:0 srv/site/".to_owned(),
            "l777 0:0 srv/site/dangling nowhere".to_owned(),
            "-755 0:0 srv/site/run #!".to_owned(),
            "d755 0:0 srv/site/sub/".to_owned(),
            format!("-644 0:0 srv/site/sub/{long} long"),
        ]
    );
}

#[test]
fn the_same_input_makes_the_same_bytes_and_every_blob_has_its_digest() {
    let entries = || vec![vec![Entry::bytes("/a", "1")], vec![Entry::bytes("/b", "2"), Entry::bytes("/c", "3")]];
    let mut manifests = std::collections::BTreeSet::new();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let mut options = PackOptions { compression, ..options(entries()) };
        let first = pack(&options).unwrap();
        options.layers[1].reverse();
        let second = pack(&options).unwrap();
        let mut archives = [Vec::new(), Vec::new()];
        first.write_archive(&mut archives[0]).unwrap();
        second.write_archive(&mut archives[1]).unwrap();
        assert!(archives[0] == archives[1], "{compression:?}");
        let config: Value = serde_json::from_slice(&first.config.bytes).unwrap();
        for (i, tar) in unpacked(&first).iter().enumerate() {
            assert_eq!(config["rootfs"]["diff_ids"][i], digest(tar));
        }
        manifests.insert(first.manifest.digest);
    }
    assert_eq!(manifests.len(), 3);
}

#[test]
fn the_archive_is_an_oci_layout_that_names_the_image_and_how_to_run_it() {
    let image = pack(&PackOptions {
        entrypoint: vec!["/app".into()],
        cmd: vec!["--port".into(), "80".into()],
        env: vec![("B".into(), "2".into()), ("A".into(), "1=1".into())],
        working_dir: Some("/srv".into()),
        user: Some("1000:1000".into()),
        exposed_ports: vec!["80/tcp".into()],
        labels: [("who".to_owned(), "me".to_owned())].into(),
        stop_signal: Some("SIGINT".into()),
        ..options(vec![vec![Entry::bytes("/app", "x").mode(0o755)]])
    })
    .unwrap();
    let mut archive = Vec::new();
    image.write_archive(&mut archive).unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    let parsed = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
    let blob = |descriptor: &Value| {
        let digest_ = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/sha256/{}", digest_.trim_start_matches("sha256:"))];
        assert_eq!(digest(bytes), digest_);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    };
    assert_eq!(parsed("oci-layout")["imageLayoutVersion"], "1.0.0");
    let named = parsed("index.json")["manifests"][0].clone();
    for annotation in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
        assert_eq!(named["annotations"][annotation], "localhost/test:1");
    }
    let manifest: Value = serde_json::from_slice(&blob(&named)).unwrap();
    blob(&manifest["layers"][0]);
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    assert_eq!(config["os"], "linux");
    assert_eq!(
        config["config"],
        serde_json::json!({
            "User": "1000:1000", "ExposedPorts": { "80/tcp": {} }, "Env": ["B=2", "A=1=1"],
            "Entrypoint": ["/app"], "Cmd": ["--port", "80"], "WorkingDir": "/srv",
            "Labels": { "who": "me" }, "StopSignal": "SIGINT",
        })
    );
    // The standard's own reader agrees.
    oci_spec::image::ImageConfiguration::from_reader(image.config.bytes.as_slice()).unwrap();
    oci_spec::image::ImageManifest::from_reader(image.manifest.bytes.as_slice()).unwrap();
    oci_spec::image::ImageIndex::from_reader(files["index.json"].as_slice()).unwrap();
}

#[test]
fn a_program_that_would_not_find_its_loader_is_refused() {
    // This test itself is linked dynamically; Debian's busybox-static is not.
    let test = std::env::current_exe().unwrap();
    let mut options = options(vec![vec![Entry::path(&test, "/app")]]);
    options.compression = Compression::None;
    options.entrypoint = vec!["/app".into()];
    let loader = match interpreter(&fs::read(&test).unwrap()) {
        Some(loader) => loader.to_owned(),
        None => return,
    };
    let error = pack(&options).unwrap_err().to_string();
    assert!(error.contains("/app is dynamically linked") && error.contains(&loader), "{error}");
    options.layers.push(vec![Entry::bytes(format!("/usr{loader}"), "")]);
    pack(&options).unwrap();
    assert_eq!(interpreter(b"\x7fELF\x02\x01"), None);
    assert_eq!(interpreter(&[&b"\x7fELF\x02\x01"[..], &[0xff; 200]].concat()), None);
}

#[test]
fn what_cannot_be_packed_is_refused_by_name() {
    let refused = |entries: Vec<Entry>| pack(&options(vec![entries])).unwrap_err().to_string();
    for target in ["app", "", "/", "/../etc", "/a/./b"] {
        assert!(refused(vec![Entry::bytes(target, "")]).contains("absolute path"), "{target}");
    }
    assert!(refused(vec![Entry::bytes("/a", ""), Entry::bytes("//a", "")]).contains("two files for /a"));
    assert!(refused(vec![Entry::bytes("/a", ""), Entry::bytes("/a/b", "")]).contains("below /a"));
    assert!(refused(vec![Entry::path("/nonexistent/file", "/a")]).contains("/nonexistent/file"));
    assert!(refused(vec![Entry::path("/dev/null", "/a")]).contains("neither a file"));
    for name in ["", "hello", "hello:1", "shop/hello:1", "localhost/hello", "localhost/Hello:1", "localhost/a b:1"] {
        let error = pack(&PackOptions { name: name.into(), ..PackOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("localhost/hello:0.1"), "{name}: {error}");
    }
}

#[test]
fn a_command_line_names_source_target_and_mode() {
    let entry = Entry::parse("target/hello:/bin/hello:4755").unwrap();
    assert_eq!((entry.target.as_str(), entry.mode), ("/bin/hello", Some(0o4755)));
    assert!(matches!(entry.content, Content::Path(path) if path == Path::new("target/hello")));
    assert_eq!(Entry::parse("a:/b").unwrap().mode, None);
    for text in ["", "a", ":/b", "a:/b:9", "a:/b:77777", "a:/b:755:x"] {
        assert!(Entry::parse(text).is_err(), "{text}");
    }
    let links = multi_call("/bin/busybox", "/bin/busybox", &["busybox", "sh", "sleep"]);
    let targets: Vec<&str> = links.iter().map(|entry| entry.target.as_str()).collect();
    assert_eq!(targets, ["/bin/busybox", "/bin/sh", "/bin/sleep"]);
}
