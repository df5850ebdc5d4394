//! Drawing of plots as SVG, by `plotters`.

mod bars;
mod lines;
mod theme;

pub(crate) use theme::{GREY, Theme};

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::page::chart::{Chart, Plot, label};

/// Width of every plot. Pages show it at half of it or less: plotters places things on whole numbers.
const WIDTH: u32 = 1000;
/// Where plot and titles begin.
const MARGIN: i32 = 14;
/// Room for title and subtitle.
const HEAD: i32 = 94;
const FONT: &str = "system-ui, sans-serif";
/// Plotters writes sizes 1.24 times smaller than they are given.
const TITLE_SIZE: f64 = 29.0 * 1.24;
const TEXT_SIZE: f64 = 24.0 * 1.24;

/// A plot that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plot {id} cannot be drawn: {what}; this is a fault of the report")]
pub(crate) struct DrawError {
    id: String,
    what: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What goes wrong within plotters; with a string as its target, nothing should.
type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// The plot as one element `svg`.
pub(crate) fn svg(plot: &Plot, theme: &Theme) -> Result<String, DrawError> {
    let mut out = String::new();
    draw(plot, theme, &mut out).map_err(|err| DrawError { id: plot.id.clone(), what: err.to_string() })?;
    Ok(out)
}

fn draw(plot: &Plot, theme: &Theme, out: &mut String) -> Drawn<()> {
    let height = match &plot.chart {
        Chart::Lines(_) => 640,
        Chart::Bars(bars) => bars::height(bars),
    };
    let area = SVGBackend::with_string(out, (WIDTH, height)).into_drawing_area();
    area.fill(&theme.background)?;
    let title = text(theme.text, TITLE_SIZE).transform(FontTransform::None);
    let title = TextStyle { font: title.font.style(FontStyle::Bold), ..title };
    area.draw_text(&label(&plot.title, 56), &title, (MARGIN, 10))?;
    area.draw_text(&label(&plot.subtitle, 84), &text(theme.faint, TEXT_SIZE), (MARGIN, 46))?;
    match &plot.chart {
        Chart::Lines(chart) => lines::draw(chart, &area, theme)?,
        Chart::Bars(chart) => bars::draw(chart, &area, theme)?,
    }
    area.present()
}

fn text(colour: RGBColor, size: f64) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour)
}

fn anchored(style: TextStyle<'static>, h: HPos, v: VPos) -> TextStyle<'static> {
    style.pos(Pos::new(h, v))
}
