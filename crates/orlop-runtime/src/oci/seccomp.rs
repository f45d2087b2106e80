//! The system calls that a container may make: the allow-list that container users know. What is not on it fails with
//! EPERM; what the installed libseccomp does not know yet is passed over by runc.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// Allowed on every machine with every argument.
const ALLOWED: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime
clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit
get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents
io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl
msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat
openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl
pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace
pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit
set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64
statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink
unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
";

/// Allowed because containers hold CAP_SYS_CHROOT.
const WITH_CHROOT: &[&str] = &["chroot"];

/// Personalities that change nothing for anybody else: Linux, with short inodes, 32 bits, both; and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Flags of `clone` that make namespaces, which takes CAP_SYS_ADMIN.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Sockets of virtual machines reach the host past every network namespace.
const AF_VSOCK: u64 = 40;

/// The profile for a machine, by the compiler's name for it. 32-bit programs have the same calls; those of x32 do not
/// run (a call that is marked as x32 ends its thread): hardly any kernel has them, and runc would spend a third of its
/// time with the profile on them.
pub(crate) fn profile(arch: &str) -> Result<LinuxSeccomp, OciSpecError> {
    let (architectures, own): (&[Arch], &[&str]) = match arch {
        "x86_64" => (&[Arch::ScmpArchX86_64, Arch::ScmpArchX86], &["arch_prctl", "modify_ldt"]),
        "aarch64" => (
            &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
            &["arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"],
        ),
        // The machine's own architecture is always in a filter.
        _ => (&[], &[]),
    };
    let argument = |operator, value: u64| LinuxSeccompArgBuilder::default().index(0usize).value(value).op(operator);
    let mut rules = vec![
        allow(ALLOWED.split_whitespace(), None)?,
        allow(WITH_CHROOT.iter().copied(), None)?,
        allow(["socket"], Some(argument(LinuxSeccompOperator::ScmpCmpNe, AF_VSOCK).build()?))?,
    ];
    if !own.is_empty() {
        rules.push(allow(own.iter().copied(), None)?);
    }
    for personality in PERSONALITIES {
        rules.push(allow(["personality"], Some(argument(LinuxSeccompOperator::ScmpCmpEq, personality).build()?))?);
    }
    // For a masked comparison the first value is the mask, the second what must come out.
    let namespaces = argument(LinuxSeccompOperator::ScmpCmpMaskedEq, CLONE_NAMESPACES).value_two(0u64).build()?;
    rules.push(allow(["clone"], Some(namespaces))?);
    // Its flags lie in memory, where a filter cannot see them; programs fall back to clone.
    rules.push(
        LinuxSyscallBuilder::default()
            .names(vec!["clone3".to_owned()])
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(libc::ENOSYS.unsigned_abs())
            .build()?,
    );
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM.unsigned_abs())
        .architectures(architectures.to_vec())
        .syscalls(rules)
        .build()
}

fn allow<'a>(
    names: impl IntoIterator<Item = &'a str>,
    argument: Option<LinuxSeccompArg>,
) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let builder = LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow);
    match argument {
        Some(argument) => builder.args(vec![argument]).build(),
        None => builder.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_names_each_call_once_and_never_what_reaches_the_host() {
        let names: Vec<_> = ALLOWED.split_whitespace().collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        for forbidden in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "pivot_root",
            "init_module",
            "finit_module",
            "kexec_load",
            "bpf",
            "reboot",
            "swapon",
            "open_by_handle_at",
            "perf_event_open",
            "userfaultfd",
            "keyctl",
            "add_key",
            "clone3",
            "iopl",
            "ioperm",
            "settimeofday",
            "io_uring_setup",
            "clone",
            "socket",
            "personality",
        ] {
            assert!(!names.contains(&forbidden), "{forbidden}");
        }
        let x86 = profile("x86_64").expect("a profile");
        let expected = vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86];
        assert_eq!(x86.architectures().as_ref(), Some(&expected), "each of them costs milliseconds at every start");
        for arch in ["x86_64", "aarch64", "riscv64"] {
            assert!(profile(arch).is_ok(), "{arch}");
        }
    }
}
