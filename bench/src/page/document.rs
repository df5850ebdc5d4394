//! A page as data: what stands on it, not how it is written.

use crate::page::chart::Plot;

/// The whole page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) lead: String,
    pub(crate) sections: Vec<Section>,
}

/// A part with a heading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Heading(String),
    Text(String),
    /// What nobody should miss.
    Warning(String),
    List(Vec<String>),
    /// Side by side where there is room.
    Plots(Vec<Plot>),
    Table(Table),
    /// Names and what they stand for.
    Facts(Vec<(String, String)>),
    /// Long text as it is, folded away.
    Folded {
        summary: String,
        text: String,
    },
}

/// A table. Cells after the first column are figures if they say so.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A column's heading, and whether it holds figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) figures: bool,
}

impl Table {
    /// An empty one. Names that begin with `#` are of columns of figures.
    pub(crate) fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|name| Column {
            name: name.trim_start_matches('#').to_owned(),
            figures: name.starts_with('#'),
        });
        Self { caption: caption.into(), columns: columns.collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }
}

impl Section {
    pub(crate) fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), blocks: Vec::new() }
    }

    /// Adds a block, unless there is nothing in it.
    pub(crate) fn add(&mut self, block: Block) {
        let empty = match &block {
            Block::Heading(text) | Block::Text(text) | Block::Warning(text) => text.is_empty(),
            Block::List(lines) => lines.is_empty(),
            Block::Plots(plots) => plots.is_empty(),
            Block::Table(table) => table.rows.is_empty(),
            Block::Facts(facts) => facts.is_empty(),
            Block::Folded { text, .. } => text.is_empty(),
        };
        if !empty {
            self.blocks.push(block);
        }
    }
}

impl Document {
    /// All plots, in the order of the page.
    pub(crate) fn plots_mut(&mut self) -> impl Iterator<Item = &mut Plot> {
        let blocks = self.sections.iter_mut().flat_map(|section| &mut section.blocks);
        blocks.flat_map(|block| match block {
            Block::Plots(plots) => plots.as_mut_slice(),
            _ => &mut [],
        })
    }

    /// The same, to look at.
    pub(crate) fn plots(&self) -> impl Iterator<Item = &Plot> {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        blocks.flat_map(|block| match block {
            Block::Plots(plots) => plots.as_slice(),
            _ => &[],
        })
    }

    /// Gives each plot an id that no other has.
    pub(crate) fn name_plots(&mut self) {
        let mut taken = std::collections::HashSet::new();
        for plot in self.plots_mut() {
            let mut id = plot.id.clone();
            let mut number = 1;
            while !taken.insert(id.clone()) {
                number += 1;
                id = format!("{}-{number}", plot.id);
            }
            plot.id = id;
        }
    }
}
