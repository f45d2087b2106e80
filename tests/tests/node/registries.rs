//! Images from a registry: what pulls, what does not, and what is said about it.

use crate::specs::{app, testbed, wait_for_phase, wait_for_why};
use orlop_testbed::{Layout, Options, Registry, TestImage, Testbed, write_login};

fn service(name: &str, image: &str) -> String {
    format!("  {name}:\n    rtype: service\n    image: {{ name: \"{image}\", pull_policy: always }}\n")
}

/// `why` and `describe` name the same trouble.
fn wait_for_words(testbed: &Testbed, service: &str, words: &[&str]) {
    wait_for_why(testbed, service, words);
    let described = testbed.ctl_ok(&["describe", service]).to_lowercase();
    for word in words {
        assert!(described.contains(&word.to_lowercase()), "{word} is not in {described}");
    }
}

/// Changes one byte of a blob, so that it is not what its digest says.
fn damage(registry: &Registry, digest: &str) {
    let path = registry.blob(digest);
    let mut bytes = std::fs::read(&path).expect("a blob of the registry");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("a blob that can be written");
}

#[test]
fn images_are_pulled_with_a_login_and_what_cannot_be_pulled_says_why() {
    let login = Some(("me", "secret"));
    let (registry, unlisted) = (Registry::start(login, None), Registry::start(None, None));
    let (hello, busybox) = (TestImage::Hello.packed(), TestImage::Busybox.packed());
    registry.push("shop/hello", &hello, login);
    registry.push("shop/broken", &busybox, login);
    damage(&registry, &busybox.layers[0].digest);
    unlisted.push("shop/hello", &hello, None);

    let credentials = tempfile::NamedTempFile::new().expect("a temporary file");
    write_login(credentials.path(), registry.host(), "me", "secret");
    let dev_flags = [
        "--insecure-registry",
        registry.host(),
        "--registry-credentials",
        credentials.path().to_str().expect("a plain path"),
    ];
    let options = Options { dev_flags: dev_flags.map(str::to_owned).into(), ..Options::default() };
    let testbed = Testbed::start(options);
    let host = registry.host();
    testbed.deploy(
        &app(&(service("good", &format!("{host}/shop/hello:1"))
            + &service("pinned", &format!("{host}/shop/hello@{}", hello.manifest.digest))
            + &service("absent", &format!("{host}/shop/hello:2"))
            + &service("broken", &format!("{host}/shop/broken:1"))
            + &service("plain", &format!("{}/shop/hello:1", unlisted.host())))),
        &[],
    );
    wait_for_phase(&testbed, "app/good", &["running"]);
    wait_for_phase(&testbed, "app/pinned", &["running"]);
    wait_for_words(&testbed, "app/absent", &["shop/hello:2"]);
    wait_for_words(&testbed, "app/broken", &["digest", "shop/broken:1"]);
    wait_for_words(&testbed, "app/plain", &[unlisted.host()]);
    let why = testbed.ctl_ok(&["why", "app/plain"]);
    assert!(why.contains("insecure"), "how to allow plain http is not said: {why}");

    // What was missing comes, and so does the replica.
    std::fs::write(registry.blob(&busybox.layers[0].digest), &busybox.layers[0].bytes).expect("a blob, mended");
    wait_for_words(&testbed, "app/broken", &["exited with code 0"]);
}

#[test]
fn a_refused_login_is_said_and_tried_again_with_the_right_one() {
    let registry = Registry::start(Some(("me", "secret")), None);
    registry.push("shop/hello", &TestImage::Hello.packed(), Some(("me", "secret")));
    let credentials = tempfile::NamedTempFile::new().expect("a temporary file");
    write_login(credentials.path(), registry.host(), "me", "wrong");
    let mut options = Options { layout: Layout::ProcessPerRole, ..Options::default() };
    let settings = [
        ("ORLOP_AGENT_INSECURE_REGISTRIES", format!("[\"{}\"]", registry.host())),
        ("ORLOP_AGENT_REGISTRY_CREDENTIALS", credentials.path().display().to_string()),
    ];
    options.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    let testbed = testbed(options);
    testbed.deploy(&app(&service("web", &format!("{}/shop/hello:1", registry.host()))), &[]);
    wait_for_words(&testbed, "app/web", &[registry.host(), "credentials"]);

    write_login(credentials.path(), registry.host(), "me", "secret");
    wait_for_phase(&testbed, "app/web", &["running"]);
}
