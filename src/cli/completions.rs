//! `footprint completions`: prints the script with which a shell completes the commands and flags.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use footprint_service::console::Output;

use crate::cli::{Cli, Exit};

/// Print the completions of a shell
///
/// For bash: `footprint completions bash > ~/.local/share/bash-completion/completions/footprint`. For zsh, into a folder of $fpath
/// as _footprint. For fish, into ~/.config/fish/completions/footprint.fish.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    shell: Name,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Name {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs, output: &mut Output) -> Exit {
    let shell = match args.shell {
        Name::Bash => Shell::Bash,
        Name::Zsh => Shell::Zsh,
        Name::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "footprint", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end());
    Exit::Done
}
