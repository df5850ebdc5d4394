//! `ringmain completions` and `ringmain man`: what packages install beside the program.

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// For which shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ringmain completions bash > ~/.local/share/bash-completion/completions/ringmain"
)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ringmain man ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// A directory, which is made if it is not there.
    directory: PathBuf,
}

impl ManArgs {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

pub(super) fn completions(args: &CompletionsArgs) -> io::Result<()> {
    // Into memory first: clap_complete panics when a pipe is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "ringmain", &mut script);
    match io::stdout().write_all(&script) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

pub(super) fn man(args: &ManArgs) -> io::Result<()> {
    std::fs::create_dir_all(&args.directory)?;
    let mut command = super::Cli::command();
    command.build();
    pages(&command, "ringmain", &args.directory)
}

/// A page for a command, and for each of its own.
fn pages(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase());
    let mut text = Vec::new();
    page.render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.1")), text)?;
    let own = command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help");
    own.into_iter().try_for_each(|one| pages(one, &format!("{name}-{}", one.get_name()), directory))
}
