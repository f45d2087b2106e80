//! The two things that the standard library does not offer: waiting for a signal, and waking a thread from `accept`.

use std::net::TcpListener;
use std::os::fd::AsRawFd;

/// SIGTERM and SIGINT, kept back for whoever waits.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Keeps the signals from this thread and from those that it will start. Blocked signals also reach a process that
    /// is the first of its container, for which the kernel drops all others.
    pub(crate) fn block() -> Signals {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: the set is initialised by sigemptyset before its other uses; a null old set is allowed.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            Signals(set.assume_init())
        }
    }

    /// Waits for one of them and gives its name.
    pub(crate) fn wait(&self) -> &'static str {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right type.
        while unsafe { libc::sigwait(&self.0, &mut signal) } != 0 {}
        if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" }
    }
}

/// Ends listening, also for a thread that waits in `accept`.
pub(crate) fn close(listener: &TcpListener) {
    // SAFETY: the descriptor belongs to the listener, which outlives the call.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) };
}
