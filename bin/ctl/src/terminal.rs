//! The terminal in raw mode, put back on every way out.

use nix::sys::termios::{self, SetArg, Termios};
use std::io::{self, IsTerminal, Stdin};

/// Standard input's terminal in raw mode, as long as this lives.
#[derive(Debug)]
pub(crate) struct Raw {
    stdin: Stdin,
    before: Termios,
}

impl Raw {
    /// Switches; `None` when standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Raw>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
        Ok(Some(Raw { stdin, before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The process ends; there is nobody left to tell.
        let _ = termios::tcsetattr(&self.stdin, SetArg::TCSADRAIN, &self.before);
    }
}

nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Rows and columns of the terminal that standard output or input is; 24 × 80 when none tells.
pub(crate) fn size() -> (u16, u16) {
    for descriptor in [1, 0] {
        let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel writes a `winsize` to the pointer, which is one.
        let answered = unsafe { window_size(descriptor, &raw mut size) }.is_ok();
        if answered && size.ws_row > 0 && size.ws_col > 0 {
            return (size.ws_row, size.ws_col);
        }
    }
    (24, 80)
}
