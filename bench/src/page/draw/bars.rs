//! Horizontal bars with a whisker from least to most and the figures beside them.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Drawn, HEAD, MARGIN, TEXT_SIZE, Theme, WIDTH, anchored, text};
use crate::page::chart::{BarRow, Bars, Scale, label};
use crate::page::number::{show, show_ends};
use crate::page::scale::Span;

const ROW_HEIGHT: u32 = 44;
/// Letters of a name at most, and the width of one, about.
const NAME_CHARS_MAX: usize = 28;
const CHAR_WIDTH: u32 = 13;
/// Room for the figures at the right: at least.
const FIGURES_MIN: i32 = 320;

pub(super) fn height(bars: &Bars) -> u32 {
    (HEAD + MARGIN) as u32 + bars.rows.len().max(1) as u32 * ROW_HEIGHT
}

/// Where the middle of a row is: the first at the top.
fn middle(row: usize) -> f64 {
    -(row as f64) - 0.5
}

/// What stands beside a bar.
fn figure(row: &BarRow, bars: &Bars) -> String {
    match row {
        BarRow::Heading(_) => String::new(),
        BarRow::Bar { value, least, most, .. } if least < most => show_ends(*value, *least, *most, bars.unit),
        BarRow::Bar { value, .. } => show(*value, bars.unit),
    }
}

pub(super) fn draw(bars: &Bars, area: &Area<'_>, theme: &Theme) -> Drawn<()> {
    // Ratios are drawn from 1, all else from zero.
    let base = if bars.scale == Scale::Log { 1.0 } else { 0.0 };
    let values = bars.rows.iter().flat_map(|row| match row {
        BarRow::Heading(_) => vec![],
        BarRow::Bar { value, least, most, .. } => vec![*value, *least, *most],
    });
    let span = bars.scale.span(values.chain([base]));
    let rows = bars.rows.len().max(1);
    let depth = rows as f64;
    let lanes = Span { scale: Scale::Linear, from: -depth, to: 0.0, ticks: (0..rows).map(middle).collect() };
    // What has no place on a log axis is drawn at its end.
    let shown = |value: f64| if bars.scale.place(value).is_some() { value } else { span.range().start };
    let names: Vec<String> = bars
        .rows
        .iter()
        .map(|row| match row {
            BarRow::Heading(_) => String::new(),
            BarRow::Bar { label: name, .. } => label(name, NAME_CHARS_MAX),
        })
        .collect();
    let widest = names.iter().map(|name| name.chars().count() as u32).max().unwrap_or(0);
    let figures: Vec<String> = bars.rows.iter().map(|row| figure(row, bars)).collect();
    let longest = figures.iter().map(|text| text.chars().count() as u32).max().unwrap_or(0);
    let room = FIGURES_MIN.max((longest * CHAR_WIDTH) as i32 + 16 + MARGIN);
    let mut plane = ChartBuilder::on(area)
        .margin_top(HEAD)
        .margin_left(MARGIN)
        .margin_bottom(MARGIN)
        .margin_right(room)
        .set_label_area_size(LabelAreaPosition::Left, 24 + widest * CHAR_WIDTH)
        .build_cartesian_2d(span.clone(), lanes)?;
    plane
        .configure_mesh()
        .disable_mesh()
        .axis_style(TRANSPARENT)
        .label_style(text(theme.text, TEXT_SIZE))
        .y_label_formatter(&|place| names.get((-place) as usize).cloned().unwrap_or_default())
        .draw()?;
    for (number, row) in bars.rows.iter().enumerate() {
        let y = middle(number);
        let (_, pixel) = plane.backend_coord(&(span.range().start, y));
        match row {
            BarRow::Heading(name) => {
                let style = text(theme.text, TEXT_SIZE);
                let style = TextStyle { font: style.font.style(FontStyle::Bold), ..style };
                let style = anchored(style, HPos::Left, VPos::Center);
                area.draw_text(&label(name, 66), &style, (MARGIN, pixel + 6))?;
            }
            BarRow::Bar { colour, value, least, most, .. } => {
                let corners = [(base, y - 0.26), (shown(*value), y + 0.26)];
                plane.draw_series([Rectangle::new(corners, theme.colour(*colour).filled())])?;
                let origin = [(base, y - 0.5), (base, y + 0.5)];
                plane.draw_series([PathElement::new(origin, theme.faint.stroke_width(2))])?;
                if least < most {
                    let style = theme.text.stroke_width(2);
                    let ends = (shown(*least), shown(*value), shown(*most));
                    plane.draw_series([ErrorBar::new_horizontal(y, ends.0, ends.1, ends.2, style, 12)])?;
                }
                let style = anchored(text(theme.text, TEXT_SIZE), HPos::Left, VPos::Center);
                area.draw_text(&figures[number], &style, (WIDTH as i32 - room + 16, pixel))?;
            }
        }
    }
    Ok(())
}
