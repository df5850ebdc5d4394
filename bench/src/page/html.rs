//! The page as HTML: one file that needs nothing else. All text goes through the template, which escapes it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::page::chart::slug;
use crate::page::document::{Block, Document, Section, Table};
use crate::page::draw::{DrawError, Theme, svg};

/// Nothing is loaded, run or sent, whatever the page holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Texts of cells that are not broken.
const SHORT_CHARS_MAX: usize = 24;

/// Writes the page.
pub(crate) fn render(document: &Document) -> Result<String, DrawError> {
    let style = format!(
        "{}\n@media (prefers-color-scheme: dark) {{\n{}}}\n",
        include_str!("style.css"),
        Theme::LIGHT.turned_into(&Theme::DARK)
    );
    let sections = document.sections.iter().enumerate().map(|(number, one)| section(number, one));
    let sections: Vec<Markup> = sections.collect::<Result<_, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (document.title) }
                style { (PreEscaped(style)) }
            }
            body {
                header {
                    h1 { (document.title) }
                    p.lead { (document.lead) }
                    nav aria-label="Contents" {
                        ul {
                            @for (number, one) in document.sections.iter().enumerate() {
                                li { a href={ "#" (anchor(number, one)) } { (one.heading) } }
                            }
                        }
                    }
                }
                main { @for one in &sections { (one) } }
            }
        }
    };
    Ok(page.into_string())
}

fn anchor(number: usize, section: &Section) -> String {
    format!("s{number}-{}", slug(&section.heading))
}

fn section(number: usize, section: &Section) -> Result<Markup, DrawError> {
    let blocks: Vec<Markup> = section.blocks.iter().map(block).collect::<Result<_, _>>()?;
    Ok(html! {
        section id=(anchor(number, section)) {
            h2 { (section.heading) }
            @for one in &blocks { (one) }
        }
    })
}

fn block(block: &Block) -> Result<Markup, DrawError> {
    Ok(match block {
        Block::Heading(text) => html! { h3 { (text) } },
        Block::Text(text) => html! { p { (text) } },
        Block::Warning(text) => html! { p.warning role="note" { (text) } },
        Block::List(lines) => html! { ul { @for line in lines { li { (line) } } } },
        Block::Plots(plots) => {
            let drawn: Vec<String> =
                plots.iter().map(|plot| svg(plot, &Theme::LIGHT)).collect::<Result<_, _>>()?;
            html! {
                div.plots {
                    @for (plot, svg) in plots.iter().zip(&drawn) {
                        figure id={ "plot-" (plot.id) } {
                            div role="img" aria-label={ (plot.title) ": " (plot.subtitle) } { (PreEscaped(svg)) }
                            @if !plot.caption.is_empty() { figcaption { (plot.caption) } }
                        }
                    }
                }
            }
        }
        Block::Table(one) => table(one),
        Block::Facts(facts) => html! {
            dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        },
        Block::Folded { summary, text } => html! {
            details { summary { (summary) } pre { (text) } }
        },
    })
}

fn table(table: &Table) -> Markup {
    let class = |at: usize| table.columns.get(at).is_some_and(|column| column.figures).then_some("n");
    // Short texts stay in one line.
    let class_of = |at, cell: &str| class(at).or((cell.chars().count() <= SHORT_CHARS_MAX).then_some("s"));
    html! {
        div.wide tabindex="0" role="region" aria-label=(table.caption) {
            table {
                @if !table.caption.is_empty() { caption { (table.caption) } }
                thead {
                    tr { @for (at, column) in table.columns.iter().enumerate() {
                        th scope="col" class=[class(at)] { (column.name) }
                    } }
                }
                tbody {
                    @for row in &table.rows {
                        tr { @for (at, cell) in row.iter().enumerate() {
                            td class=[class_of(at, cell)] { (cell) }
                        } }
                    }
                }
            }
        }
    }
}
