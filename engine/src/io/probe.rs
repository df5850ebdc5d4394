//! Which backend this machine allows: found out once, by trying.

use io_uring::{IoUring, Probe, opcode};

/// How the engine does its I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Syncs run side by side through an io_uring.
    Uring,
    /// Plain system calls only.
    Blocking,
}

impl IoMode {
    /// The environment variable that overrides the probe: `uring`, `blocking` or `auto`.
    pub const ENV: &'static str = "RINGMAIN_IO";

    /// What to use here: [`IoMode::ENV`] if it is set to `blocking`, else io_uring where a ring can
    /// be made and runs fsync (containers often forbid it), else plain calls.
    #[must_use]
    pub fn detect() -> Self {
        match std::env::var(Self::ENV).as_deref() {
            Ok("blocking") => Self::Blocking,
            Ok("uring") => Self::Uring,
            _ => Self::probe(),
        }
    }

    /// As [`IoMode::detect`], without looking at the environment.
    #[must_use]
    pub fn probe() -> Self {
        let Ok(ring) = IoUring::new(2) else { return Self::Blocking };
        let mut probe = Probe::new();
        let known = ring.submitter().register_probe(&mut probe).is_ok();
        if known && probe.is_supported(opcode::Fsync::CODE) { Self::Uring } else { Self::Blocking }
    }

    /// The mode's name in configuration and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Blocking => "blocking",
        }
    }
}
