//! Lines over an axis, each with its name beside its end.

use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Drawn, HEAD, MARGIN, TEXT_SIZE, Theme, WIDTH, anchored, text};
use crate::page::chart::{Lines, label};
use crate::page::number::show;
use crate::page::scale::spread_out;

/// Room for the numbers of the y axis.
const LEFT: u32 = 118;
/// Room for the numbers and the name of the x axis.
const FOOT: u32 = 84;
/// Letters of a name at most, and the width of one, about.
const NAME_CHARS_MAX: usize = 18;
const CHAR_WIDTH: u32 = 14;
const LINE_HEIGHT: f64 = 30.0;
const STROKE: u32 = 4;

pub(super) fn draw(chart: &Lines, area: &Area<'_>, theme: &Theme) -> Drawn<()> {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let bands = || chart.series.iter().flat_map(|series| &series.band);
    let xs = points().map(|(x, _)| *x);
    let ys = points().map(|(_, y)| *y).chain(bands().flat_map(|(_, least, most)| [*least, *most]));
    let (x, y) = if chart.diagonal {
        // Both axes count the same, so they are the same.
        let both: Vec<f64> = xs.chain(ys).collect();
        (chart.x.scale.span(both.iter().copied()), chart.y.scale.span(both.into_iter()))
    } else {
        (chart.x.scale.span(xs), chart.y.scale.span(ys))
    };
    let names: Vec<String> = chart.series.iter().map(|series| label(&series.label, NAME_CHARS_MAX)).collect();
    let widest = names.iter().map(|name| name.chars().count() as u32).max().unwrap_or(0);
    let mut plane = ChartBuilder::on(area)
        .margin_top(HEAD)
        .margin_left(MARGIN)
        .margin_bottom(MARGIN)
        .margin_right(MARGIN as u32 + 14 + widest * CHAR_WIDTH)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, FOOT)
        .build_cartesian_2d(x.clone(), y.clone())?;
    plane
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(theme.grid.stroke_width(2))
        .axis_style(theme.grid.stroke_width(2))
        .label_style(text(theme.faint, TEXT_SIZE))
        .axis_desc_style(text(theme.faint, TEXT_SIZE))
        .x_desc(chart.x.label)
        .x_label_formatter(&|value| show(*value, chart.x.unit))
        .y_label_formatter(&|value| show(*value, chart.y.unit))
        .draw()?;
    if chart.diagonal {
        let (from, to) = (x.range().start, x.range().end);
        let style = theme.faint.stroke_width(2);
        plane.draw_series(DashedLineSeries::new([(from, from), (to, to)], 10, 8, style))?;
    }
    // A value without a place, such as zero on a log axis, is not drawn.
    let has_place = |x: &f64, y: &f64| chart.x.scale.place(*x).is_some() && chart.y.scale.place(*y).is_some();
    for series in &chart.series {
        let below = series.band.iter().map(|(x, least, _)| (*x, *least));
        let above = series.band.iter().rev().map(|(x, _, most)| (*x, *most));
        let outline: Vec<_> = below.chain(above).filter(|(x, y)| has_place(x, y)).collect();
        let style = theme.colour(series.colour).mix(0.18).filled();
        plane.draw_series((outline.len() > 2).then(|| Polygon::new(outline, style)))?;
    }
    for series in &chart.series {
        let colour = theme.colour(series.colour);
        let points: Vec<_> = series.points.iter().filter(|(x, y)| has_place(x, y)).copied().collect();
        if series.marked || points.len() == 1 {
            plane.draw_series(points.iter().map(|point| Circle::new(*point, 7, colour.filled())))?;
        }
        plane.draw_series(LineSeries::new(points, colour.stroke_width(STROKE)))?;
    }
    // Names where the lines end, moved apart.
    let ends: Vec<f64> = chart
        .series
        .iter()
        .map(|series| {
            let last = series.points.iter().rev().find(|(x, y)| has_place(x, y));
            f64::from(last.map_or(HEAD, |last| plane.backend_coord(last).1))
        })
        .collect();
    let (top, bottom) =
        (f64::from(HEAD) + 8.0, f64::from(plane.backend_coord(&(x.range().start, y.range().start)).1) - 8.0);
    let right = WIDTH as i32 - MARGIN - (widest * CHAR_WIDTH) as i32;
    for ((series, name), end) in
        chart.series.iter().zip(&names).zip(spread_out(&ends, LINE_HEIGHT, top, bottom))
    {
        let style = anchored(text(theme.colour(series.colour), TEXT_SIZE), HPos::Left, VPos::Center);
        area.draw_text(name, &style, (right, end as i32))?;
    }
    Ok(())
}
