use super::*;
use crate::container::LogTarget;
use crate::image::{ImageConfig, ResolvedImage};
use orlop_model::{Cpu, Memory};
use std::sync::Arc;

fn image(config: ImageConfig) -> ResolvedImage {
    ResolvedImage {
        name: "registry.example/shop/api:1".into(),
        digest: "sha256:1".into(),
        chain_id: "sha256:2".into(),
        config: Arc::new(config),
    }
}

fn spec() -> ContainerSpec {
    let mount = |target: &str, read_only, source| crate::Mount { target: target.into(), read_only, source };
    ContainerSpec {
        id: "rep_1".into(),
        labels: BTreeMap::new(),
        image: image(ImageConfig {
            entrypoint: vec!["/api".into()],
            cmd: vec!["serve".into()],
            env: vec!["LANG=C".into(), "MODE=image".into(), "nonsense".into()],
            working_dir: "srv".into(),
            user: "1000:1000".into(),
            stop_signal: None,
        }),
        command: None,
        args: None,
        env: BTreeMap::from([("MODE".into(), "spec".into()), ("PORT".into(), "8080".into())]),
        working_dir: None,
        user: None,
        hostname: "api-0".into(),
        resources: Resources { cpu: Some(Cpu(500)), memory: Some(Memory(256 << 20)) },
        network_namespace: Some("/run/netns/one".into()),
        mounts: vec![
            mount("/etc/hosts", false, MountSource::Bind("/node/hosts".into())),
            mount("/data", false, MountSource::Volume("/node/volumes/data".into())),
            mount("/ro", true, MountSource::Bind("/node/ro".into())),
            mount("/tmp", false, MountSource::Tmpfs { size: Some(Memory(1 << 20)) }),
        ],
        log: LogTarget::Discard,
        kin: None,
    }
}

const LEGACY: Host = Host {
    cgroups: Cgroups::Legacy { swap: true, cpu_quota: true, memory: true, pids: true },
    open_files_max: 1 << 20,
};
const UNIFIED: Host = Host { cgroups: Cgroups::Unified, open_files_max: 1 << 20 };

/// As JSON, with what has no order put in order, and the system calls left to their own test.
fn golden(host: &Host) -> String {
    let user = User { uid: 1000, gid: 1000, additional_gids: vec![5] };
    let spec = runtime_spec(&spec(), &user, host, "/orlop/rep_1").unwrap();
    let mut json = serde_json::to_value(&spec).unwrap();
    json["linux"]["seccomp"] = "…".into();
    let sets = json["process"]["capabilities"].as_object_mut().unwrap();
    for set in sets.values_mut() {
        let array = set.as_array_mut().unwrap();
        array.sort_by_key(|c| c.as_str().unwrap().to_owned());
    }
    serde_json::to_string_pretty(&json).unwrap() + "\n"
}

fn check_golden(host: &Host, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oci/golden").join(name);
    let found = golden(host);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "set UPDATE_GOLDEN=1 to take it over, and look at the difference");
}

#[test]
fn the_runtime_spec_on_cgroup_v1_is_as_it_was_agreed() {
    check_golden(&LEGACY, "legacy.json");
}

#[test]
fn the_runtime_spec_on_cgroup_v2_is_as_it_was_agreed() {
    check_golden(&UNIFIED, "unified.json");
}

#[test]
fn command_and_args_replace_entrypoint_and_cmd_as_container_users_expect() {
    let check =
        |entrypoint: &[&str], cmd: &[&str], command: Option<&[&str]>, args: Option<&[&str]>, expected: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
            let config = ImageConfig { entrypoint: owned(entrypoint), cmd: owned(cmd), ..ImageConfig::default() };
            let spec =
                ContainerSpec { image: image(config), command: command.map(owned), args: args.map(owned), ..spec() };
            assert_eq!(process_args(&spec), owned(expected));
            let built = runtime_spec(&spec, &User::default(), &LEGACY, "/orlop/a");
            assert_eq!(matches!(built, Err(RuntimeError::NoCommand { .. })), expected.is_empty());
        };
    check(&["e"], &["c"], None, None, &["e", "c"]);
    check(&["e"], &["c"], Some(&["x"]), None, &["x"]);
    check(&["e"], &["c"], None, Some(&["a"]), &["e", "a"]);
    check(&["e"], &["c"], Some(&["x"]), Some(&["a"]), &["x", "a"]);
    check(&[], &["c"], None, None, &["c"]);
    check(&["e"], &["c"], None, Some(&[]), &["e"]);
    check(&[], &["c"], None, Some(&["a"]), &["a"]);
    check(&[], &[], None, None, &[]);
}

#[test]
fn in_a_directory_of_data_nothing_is_run() {
    let mut spec = spec();
    let source = MountSource::Data("/node/secrets/0".into());
    spec.mounts = vec![crate::Mount { target: "/run/secrets".into(), read_only: true, source }];
    let built = runtime_spec(&spec, &User::default(), &LEGACY, "/orlop/a").unwrap();
    let last = built.mounts().as_ref().unwrap().last().unwrap();
    assert_eq!(last.source().as_deref(), Some(std::path::Path::new("/node/secrets/0")));
    let options = last.options().as_ref().unwrap();
    assert_eq!(options, &["rbind", "rprivate", "nosuid", "nodev", "noexec", "ro"]);
}

#[test]
fn what_would_be_misunderstood_is_refused() {
    let check = |change: &dyn Fn(&mut ContainerSpec), part: &str| {
        let mut spec = spec();
        change(&mut spec);
        let error = runtime_spec(&spec, &User::default(), &LEGACY, "/orlop/a").unwrap_err().to_string();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    };
    check(&|s| s.id = "../x".into(), "container id");
    check(&|s| s.id = "a".repeat(77), "container id");
    check(&|s| s.hostname = "h".repeat(65), "host name");
    check(&|s| s.working_dir = Some("srv".into()), "working directory");
    check(&|s| s.args = Some(vec!["a\0b".into()]), "zero byte");
    check(&|s| drop(s.env.insert("A=B".into(), "c".into())), "A=B");
    check(&|s| s.mounts[0].target = "etc".into(), "absolute");
    check(&|s| s.mounts[0].target = "/a/../../etc".into(), "without ..");
    check(&|s| s.mounts[0].target = "//".into(), "not the root");
}

#[test]
fn limits_that_a_machine_cannot_enforce_are_left_out_and_told() {
    let host = Host { cgroups: Cgroups::Legacy { swap: false, cpu_quota: false, memory: true, pids: false }, ..LEGACY };
    let built = runtime_spec(&spec(), &User::default(), &host, "/orlop/a").unwrap();
    let json = serde_json::to_value(built.linux().as_ref().unwrap().resources()).unwrap();
    assert_eq!(json["memory"], serde_json::json!({"limit": 268_435_456}));
    assert_eq!(json["cpu"], serde_json::json!({"shares": 512}));
    assert_eq!(json.get("pids"), None);
    let limits = spec().resources;
    assert_eq!(host.unenforced(&limits), ["cpu"]);
    let bare = Cgroups::Legacy { swap: false, cpu_quota: false, memory: false, pids: false };
    assert_eq!(Host { cgroups: bare, ..LEGACY }.unenforced(&limits), ["cpu", "memory"]);
    assert_eq!(Host { cgroups: bare, ..LEGACY }.unenforced(&Resources::default()), [""; 0], "nothing is asked for");
    assert_eq!(LEGACY.unenforced(&limits), [""; 0]);
    assert_eq!(Host { cgroups: Cgroups::Unified, ..LEGACY }.unenforced(&limits), [""; 0]);
}

#[test]
fn an_exec_is_the_containers_process_with_another_command() {
    let built = runtime_spec(&spec(), &User { uid: 7, ..User::default() }, &LEGACY, "/orlop/a").unwrap();
    let mut exec = ExecSpec::command(["sh", "-c", "true"]);
    exec.terminal = Some(crate::TerminalSize { rows: 24, columns: 80 });
    exec.env.insert("MODE".into(), "exec".into());
    let process = exec_process(&built, &exec).unwrap();
    assert_eq!(process.user().uid(), 7);
    assert_eq!(process.terminal(), Some(true));
    let env = process.env().clone().unwrap();
    assert!(
        env.contains(&"MODE=exec".into()) && env.contains(&"TERM=xterm".into()) && env.contains(&"PORT=8080".into())
    );
    assert!(exec_process(&built, &ExecSpec::command(Vec::<String>::new())).is_err());
}
