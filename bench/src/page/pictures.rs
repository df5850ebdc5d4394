//! Plots as files, light and dark, and what a README needs to show them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use maud::html;

use crate::page::document::Document;
use crate::page::draw::{Theme, svg};
use crate::page::error::PageError;

/// The file with what a README needs.
const SNIPPETS: &str = "pictures.md";

/// Writes every plot in both themes into a directory, which is made. Gives the file of snippets.
///
/// # Errors
/// A plot cannot be drawn or written.
pub(crate) fn write(dir: &Path, document: &Document) -> Result<PathBuf, PageError> {
    std::fs::create_dir_all(dir).map_err(|source| PageError::Write { path: dir.to_path_buf(), source })?;
    let mut snippets = String::new();
    for plot in document.plots() {
        for (theme, name) in [(&Theme::LIGHT, "light"), (&Theme::DARK, "dark")] {
            // Ids have letters, digits and dashes only.
            let path = dir.join(format!("{}-{name}.svg", plot.id));
            super::write(&path, &svg(plot, theme)?)?;
        }
        let picture = html! {
            picture {
                source media="(prefers-color-scheme: dark)" srcset={ (plot.id) "-dark.svg" };
                img src={ (plot.id) "-light.svg" } alt={ (plot.title) ": " (plot.subtitle) } width="600";
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(snippets, "{}\n", picture.into_string());
    }
    let path = dir.join(SNIPPETS);
    super::write(&path, &snippets)?;
    Ok(path)
}
