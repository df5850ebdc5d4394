//! Where values lie on an axis, and which of them are written beside it.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use crate::page::chart::Scale;

/// Percentiles beyond this are drawn here: a nine takes as much room as the one before, without end.
const NINES_MAX: f64 = 6.0;
/// Ticks at most, so that their labels do not touch.
const TICKS_MAX: usize = 7;

/// An axis that is ready to be drawn on: where it begins and ends, and its ticks, as places.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) scale: Scale,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) ticks: Vec<f64>,
}

impl Scale {
    /// Where a value lies; `None` where it has no place, such as zero on a log axis.
    pub(crate) fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log => value.log10(),
            Self::Nines => (-(1.0 - value / 100.0).log10()).clamp(0.0, NINES_MAX),
        };
        place.is_finite().then_some(place)
    }

    /// What lies at a place.
    pub(crate) fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Log => 10f64.powf(place),
            Self::Nines => 100.0 * (1.0 - 10f64.powf(-place)),
        }
    }

    /// An axis that holds all of these values.
    pub(crate) fn span(self, values: impl Iterator<Item = f64>) -> Span {
        let places = values.filter_map(|value| self.place(value));
        let (least, most) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), place| {
            (least.min(place), most.max(place))
        });
        let (least, most) = if least <= most { (least, most) } else { (0.0, 1.0) };
        match self {
            Self::Linear => linear(least.min(0.0), most),
            Self::Log => log(least, most),
            Self::Nines => nines(most),
        }
    }
}

impl Ranged for Span {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let place = self.scale.place(*value).unwrap_or(self.from);
        let part = (place - self.from) / (self.to - self.from);
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // There is one kind of them: asked for the finer ones, there are none.
        let ticks = if hint.weight().allow_light_points() { &[][..] } else { &self.ticks };
        ticks.iter().map(|place| self.scale.value(*place)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.scale.value(self.from)..self.scale.value(self.to)
    }
}

fn linear(least: f64, most: f64) -> Span {
    let most = if most > least { most } else { least + 1.0 };
    let rough = (most - least) / (TICKS_MAX - 2) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let (from, to) = ((least / step).floor(), (most / step).ceil());
    let ticks = (0..=(to - from) as usize).map(|n| (from + n as f64) * step).collect();
    Span { scale: Scale::Linear, from: from * step, to: to * step, ticks }
}

/// Ticks at 1, 2 and 5 of each power of ten where there is room, else at powers.
fn log(least: f64, most: f64) -> Span {
    let margin = ((most - least) * 0.04).max(0.02);
    let (from, to) = (least - margin, most + margin);
    let within = |steps: &[f64]| -> Vec<f64> {
        let powers = from.floor() as i32..=to.ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| f64::from(power) + step.log10()));
        all.filter(|place| (from..=to).contains(place)).collect()
    };
    let fine = within(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]);
    let middle = within(&[1.0, 2.0, 5.0]);
    let coarse = within(&[1.0, 3.0]);
    let powers = within(&[1.0]);
    let fits = [fine, middle, coarse].into_iter().find(|ticks| ticks.len() <= TICKS_MAX);
    let every = powers.len().div_ceil(TICKS_MAX).max(1);
    let ticks = fits.unwrap_or_else(|| powers.into_iter().step_by(every).collect());
    if ticks.len() >= 2 {
        return Span { scale: Scale::Log, from, to, ticks };
    }
    // So narrow that no round number lies in it.
    Span { scale: Scale::Log, from, to, ticks: vec![least, most] }
}

fn nines(most: f64) -> Span {
    let to = most.clamp(1.0, NINES_MAX);
    // The last two would touch.
    let ticks = (0..=to as usize).filter(|nine| *nine != 5 || to < 6.0).map(|nine| nine as f64).collect();
    Span { scale: Scale::Nines, from: 0.0, to, ticks }
}

/// Moves places that want to be written at so that they lie `apart` from each other, within the bounds as
/// far as there is room, in the same order.
pub(crate) fn spread_out(wanted: &[f64], apart: f64, least: f64, most: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut free = least;
    for at in &order {
        placed[*at] = placed[*at].max(free);
        free = placed[*at] + apart;
    }
    let mut free = most;
    for at in order.iter().rev() {
        placed[*at] = placed[*at].min(free);
        free = placed[*at] - apart;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_equally_far_apart_and_the_end_has_a_place() {
        let places = [0.0, 90.0, 99.0, 99.9].map(|p| Scale::Nines.place(p).unwrap());
        for (place, expected) in places.iter().zip(0..) {
            assert!((place - f64::from(expected)).abs() < 1e-9, "{places:?}");
        }
        assert_eq!(Scale::Nines.place(100.0), Some(NINES_MAX));
        assert!((Scale::Nines.value(3.0) - 99.9).abs() < 1e-9);
    }

    #[test]
    fn axes_hold_their_values_and_have_some_ticks() {
        for scale in [Scale::Linear, Scale::Log] {
            for (least, most) in
                [(1.0, 1.0), (3.0, 7.0), (0.001, 5e6), (120.0, 130.0), (0.0, 0.0), (1e-9, 1e12)]
            {
                let span = scale.span([least, most].into_iter());
                assert!(
                    (2..=TICKS_MAX + 1).contains(&span.ticks.len()),
                    "{scale:?} {least} {most}: {span:?}"
                );
                for value in [least, most] {
                    let place = scale.place(value);
                    assert!(place.is_none_or(|place| span.from <= place && place <= span.to), "{span:?}");
                }
            }
        }
        let nothing = Scale::Log.span([0.0, f64::NAN].into_iter());
        assert!(nothing.from < nothing.to);
    }

    #[test]
    fn labels_do_not_touch() {
        let placed = spread_out(&[10.0, 11.0, 50.0, 99.0], 10.0, 0.0, 100.0);
        assert_eq!(placed, [10.0, 20.0, 50.0, 99.0]);
        let placed = spread_out(&[100.0, 99.0], 10.0, 0.0, 100.0);
        assert_eq!(placed, [100.0, 90.0]);
    }
}
