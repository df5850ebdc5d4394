//! The `ringmain` command.
#![forbid(unsafe_code)]

mod cli;

/// Gives back what thousands of connections took when they have left; the C library's keeps nearly all of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
