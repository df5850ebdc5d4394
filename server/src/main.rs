//! The `ringmain` command.
#![forbid(unsafe_code)]

mod cli;

/// Gives back what thousands of connections took when they have left; the C library's keeps nearly all of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    // A panic is a bug whose memory cannot be trusted. The store is built to survive kill -9, so ending the process at
    // once is the safest answer to one, whichever thread it is in.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
    cli::main()
}
